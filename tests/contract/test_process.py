"""How the process starts and ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_supervisor.standin.release import COLOURED_LOG, PORT_IN_USE
from tests.comfyui_server import Kind, Server, image_job, sleep_job
from tests.support import wait_until

Start = Callable[..., Server]


def test_sigint_ends_it_in_the_middle_of_a_job_with_exit_code_0(start: Start, tmp_path: Path) -> None:
    """And the temp folder is emptied at the start and gone at the end."""
    leftover = tmp_path / "0" / "temp" / "leftover.png"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    server = start().until_ready()
    assert not leftover.exists()
    assert leftover.parent.is_dir()
    server.until_running(server.submit(sleep_job(60)))
    server.process.send_signal(signal.SIGINT)
    assert server.until_ended() == 0
    assert server.log.rstrip().endswith("Stopped server")
    assert not leftover.parent.exists()
    info = "[INFO]" in server.log
    assert info == server.release.has(COLOURED_LOG)
    assert f"To see the GUI go to: http://127.0.0.1:{server.port}" in server.log
    assert server.log.index("Starting server") < server.log.index("got prompt")


def test_sigterm_ends_it_at_once(start: Start) -> None:
    server = start("--dont-print-server").until_ready()
    server.process.send_signal(signal.SIGTERM)
    assert server.until_ended() == -signal.SIGTERM
    assert "Stopped server" not in server.log
    assert "To see the GUI" not in server.log


def test_a_taken_port_ends_it_with_exit_code_1(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start(port=port)
        assert server.until_ended(180) == 1
    if server.release.has(PORT_IN_USE):
        assert f"Port {port} is already in use on address 127.0.0.1." in server.log
    else:
        assert "OSError: [Errno 98]" in server.log


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--cpu", "--gpu-only"], "argument --gpu-only: not allowed with argument --cpu"),
        (["--port", "many"], "argument --port: invalid int value: 'many'"),
        (["--user-directory", "/nowhere"], "argument --user-directory: The path '/nowhere' does not exist."),
        (["--preview-method", "odd"], "argument --preview-method: invalid choice: 'odd'"),
    ],
)
def test_a_bad_command_line_ends_it_with_exit_code_2(
    kind: Kind, tmp_path: Path, flags: list[str], message: str
) -> None:
    command = [*kind.command, *flags]
    ended = subprocess.run(
        command, env=dict(kind.environment), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(f"main.py: error: {message}")
    assert ended.stdout == ""


def test_a_duplicate_that_slips_in_kills_the_worker_later(start: Start) -> None:
    """A duplicate is only noticed when the heap compares it with its like: here not when it is queued, but
    when the worker takes the job that stood above both."""
    server = start().until_ready()
    running = server.submit(sleep_job(60), number=0)
    server.until_running(running)
    body = {"prompt_id": str(uuid.uuid4()), "number": 2}
    server.submit(image_job(), number=1)
    for colour in (1, 2):
        assert server.post("/prompt", {"prompt": image_job(colour=colour), **body}).status_code == 200
    server.post("/interrupt", {})
    wait_until(lambda: re.search(r"Exception in thread Thread-\d+ \(prompt_worker\)", server.log))
    wait_until(lambda: "TypeError: '<' not supported between instances of 'dict' and 'dict'" in server.log)
    assert server.get("/queue")["queue_running"] == []
    assert server.remaining() > 0
