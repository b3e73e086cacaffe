"""What supervisord's log tells of a life's end."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from comfy_supervisor.launch import lastword

LOG = """\
2026-11-23 12:29:35,114 INFO spawned: 'comfyui' with pid 100
2026-11-23 12:29:35,115 INFO success: comfyui entered RUNNING state, process has stayed up for > than 0 seconds
2026-11-23 12:29:36,100 INFO stopped: comfyui (exit status 0)
2026-11-23 12:29:37,114 INFO spawned: 'comfyui' with pid 200
2026-11-23 12:29:38,100 WARN exited: comfyui (terminated by SIGSEGV (core dumped); not expected)
2026-11-23 12:29:38,200 WARN exited: other (exit status 3; not expected)
2026-11-23 12:29:39,114 INFO spawned: 'comfyui' with pid 300
"""
"""As 4.2.5, 4.3.0 and 4.4 write it."""


@pytest.mark.parametrize(
    ("pid", "ending"),
    [
        (200, "exited: terminated by SIGSEGV (core dumped); not expected"),
        (300, ""),
        (999, "exited: terminated by SIGSEGV (core dumped); not expected"),  # started before this piece of the log
    ],
)
def test_the_end_after_the_start_is_found(pid: int, ending: str) -> None:
    assert lastword.find(LOG, "comfyui", pid) == ending


def test_a_stop_is_told_from_a_death() -> None:
    assert lastword.find(LOG[: LOG.index("200")], "comfyui", 100) == "stopped: exit status 0"


def test_the_name_is_no_pattern() -> None:
    assert lastword.find(LOG, "c.mfyui", 1) == ""


def test_what_a_program_printed_is_not_mistaken_for_supervisords_word() -> None:
    assert lastword.find("stopped: comfyui (exit status 0)\nhe said: stopped: comfyui (x)\n", "comfyui", 1) == ""


@pytest.mark.parametrize(
    "url", ["", "unix:///no/such/socket", "http://127.0.0.1:1", "http://x:y", "nonsense", "unix://" + "x" * 200]
)
def test_nobody_to_ask_is_no_answer(url: str) -> None:
    assert lastword.ending(url, "comfyui", 1) == ""


@pytest.mark.parametrize("trickle", [False, True])
def test_a_supervisord_that_hangs_is_not_waited_for(trickle: bool, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        thread = threading.Thread(target=_drip, args=[server, trickle], daemon=True)
        thread.start()
        began = time.monotonic()
        assert lastword.ending(f"unix://{tmp_path}/s", "comfyui", 1, timeout=0.5) == ""
        assert 0.4 < time.monotonic() - began < 5
        thread.join()


def _drip(server: socket.socket, trickle: bool) -> None:
    connection, _ = server.accept()
    with connection:
        try:
            while trickle:
                connection.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            return
        connection.recv(10**6)
        connection.recv(10**6)
