"""One look at one instance, beyond what the senses' parts are tested for."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_supervisor import rpc
from comfy_supervisor.gpu.watch import Watch as GpuWatch
from comfy_supervisor.health.policy.evidence import Reply
from comfy_supervisor.health.senses.look import Senses
from comfy_supervisor.health.watched import Watched
from tests.supervisord import Supervisord
from tests.support import wait_until


class _Api(http.server.BaseHTTPRequestHandler):
    """Answers what it is asked for liveness, and fails at all else."""

    asked: list[str]

    def do_GET(self) -> None:  # http.server's name for it
        self.asked.append(self.path)
        body = json.dumps({"exec_info": {"queue_remaining": 0}}).encode() if self.path == "/prompt" else b""
        self.send_response(200 if body else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def asked() -> Iterator[tuple[int, list[str]]]:
    """Give the port of a server that fails at most things, and what it was asked."""
    questions: list[str] = []
    handler = type("Handler", (_Api,), {"asked": questions})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, questions
        server.shutdown()


def _senses(supervisord: Supervisord, folder: Path, port: int = 1, program: str = "comfyui") -> Senses:
    folders = (str(folder / "state"), str(folder / "run"), str(folder / "log"))
    watched = Watched(program, "cpu", f"http://127.0.0.1:{port}", port, *folders)
    return Senses(watched, rpc.Supervisor(supervisord.url), GpuWatch())


def test_the_device_is_asked_for_three_times_at_most(
    supervisord: Supervisord, asked: tuple[int, list[str]], tmp_path: Path
) -> None:
    """It is work for ComfyUI's event loop, and one that can't answer won't at each look either."""
    port, questions = asked
    supervisord.start("[program:comfyui]\ncommand=sleep 1000\nstartsecs=0\n")
    wait_until(lambda: supervisord.info().pid)
    # what is still supervisord's own image is another life
    wait_until(lambda: Path(f"/proc/{supervisord.info().pid}/comm").read_text() == "sleep\n")
    senses = _senses(supervisord, tmp_path, port)
    for now in range(10):
        wait_until(lambda now=now: senses.look(float(now), suspect=False).reply is Reply.GOOD)  # type: ignore[misc]
    assert questions.count("/system_stats") == 3


def test_what_supervisord_no_longer_knows_was_taken_away(supervisord: Supervisord, tmp_path: Path) -> None:
    supervisord.start("[program:other]\ncommand=sleep 1000\nstartsecs=0\n")
    assert _senses(supervisord, tmp_path).look(1.0, suspect=False).supervised == "STOPPED"


def test_a_supervisord_that_shuts_down_says_nothing_of_an_operator(supervisord: Supervisord, tmp_path: Path) -> None:
    """It refuses every question then, also at a reload, after which all goes on."""
    unmoved_by_the_stop = "stopsignal=WINCH\nstopwaitsecs=60\n"
    supervisord.start(f"[program:comfyui]\ncommand=sleep 1000\nstartsecs=0\n{unmoved_by_the_stop}")
    wait_until(lambda: supervisord.info().pid)
    senses = _senses(supervisord, tmp_path)
    wait_until(lambda: senses.look(1.0, suspect=False).supervised == "RUNNING")
    assert supervisord.rpc.shutdown() is True
    wait_until(lambda: senses.look(1.0, suspect=False).supervised == "")
    assert "SHUTDOWN_STATE" in senses.look(1.0, suspect=False).reply_text
