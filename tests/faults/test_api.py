"""Faults of the API: it holds its tongue, or talks nonsense; and others who talk in its place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.faults.patient import Patient
from tests.support import free_port, is_free, wait_until


@contextmanager
def impostor(port: int) -> Iterator[list[str]]:
    """Answer on a port as an idle ComfyUI does; give the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps({"exec_info": {"queue_remaining": 0}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Keep quiet."""

    wait_until(lambda: is_free(port), what="the port")
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield asked
        server.shutdown()


@pytest.mark.parametrize(("how", "seconds"), [("burn", 5), ("gil", 8)])
def test_a_dead_api_is_borne_while_the_process_works(well: Patient, how: str, seconds: float) -> None:
    """Fault 2, and honest work that blocks the event loop: N. How long the lock is held is only estimated."""
    pid = well.pid()
    well.order("hold_answers", how=how, seconds=seconds)
    well.wait_for_word("SUSPECT", deadline=15)
    well.wait_for_word("IDLE")
    assert well.info().pid == pid
    assert not well.restarts()


@pytest.mark.parametrize(
    ("fault", "options"),
    [("hold_answers", {"how": "sleep"}), ("slow_loris", {}), ("http_500", {})],
    ids=["half-open (10)", "slow loris (9)", "500 for ever (11)"],
)
def test_no_whole_good_answer_for_long_is_a_dead_api(well: Patient, fault: str, options: dict[str, Any]) -> None:
    """Faults 9 (the total deadline holds), 10 (the kernel accepts, and nobody reads) and 11: R."""
    pid = well.pid()
    well.order(fault, **options)
    well.wait_for_restart(pid, "api_unresponsive", 20)


def test_a_few_internal_errors_are_borne(well: Patient) -> None:
    """Fault 11: SUSPECT, and N."""
    well.order("http_500", seconds=1.5)
    well.wait_for_word("SUSPECT", deadline=15)
    well.wait_for_word("IDLE")
    assert not well.restarts()


def test_malformed_answers_are_said_and_nothing_is_done(well: Patient) -> None:
    """Fault 12: A, and N."""
    well.order("malformed_json")
    well.wait_for_alert("unknown", deadline=15)
    well.stays(1.0)
    assert "not as ComfyUI does" in well.health()["reason"]
    assert not well.restarts()


def test_a_huge_answer_costs_no_memory(well: Patient) -> None:
    """Fault 13: N, and the listener's memory stays flat."""
    listener = well.listener()
    before = listener.memory_info().rss
    well.order("huge_answer")
    well.wait_for_word("SUSPECT", deadline=15)
    well.stays(1.0)
    well.order("recover")
    well.wait_for_word("IDLE")
    assert listener.memory_info().rss < before + 16 * 1024**2
    assert not well.restarts()


def test_a_redirect_is_not_followed(well: Patient) -> None:
    """Fault 14: N."""
    elsewhere = free_port()
    with impostor(elsewhere) as asked:
        well.order("redirect", to=f"http://127.0.0.1:{elsewhere}/prompt")
        well.wait_for_word("SUSPECT", deadline=15)
        well.stays(1.0)
        well.order("recover")
        well.wait_for_word("IDLE")
    assert not asked
    assert not well.restarts()


def test_another_server_on_its_port_says_nothing_of_it(well: Patient) -> None:
    """Fault 15: A, and N. Once that server is gone nobody listens, and that is the instance's own: R."""
    pid = well.pid()
    well.order("close_port")
    with impostor(well.port) as asked:
        well.wait_for_alert("port_in_use", deadline=15)
        well.stays(1.5)
        assert asked
        assert not well.restarts()
    assert "nobody has listened" in well.wait_for_restart(pid, "api_unresponsive", 15)["reason"]


def test_a_port_that_is_taken_after_a_restart_costs_no_more_of_the_budget(well: Patient) -> None:
    """Fault 46: A; one death, however long the port is taken; it starts by itself when that is over."""
    pid = well.pid()
    os.kill(pid, signal.SIGKILL)
    with impostor(well.port):
        well.wait_for_word("GAVE_UP", deadline=20)
        assert f"port {well.port}" in well.health()["reason"]
        well.wait_for_alert("port_in_use", deadline=15)
        well.stays(2.0)
        assert len(well.health()["restarts"]) == 1
    well.wait_for_word("IDLE")
    assert len(well.health()["restarts"]) == 1
    assert not well.restarts()


def test_names_that_no_server_knows_are_not_needed(well: Patient) -> None:
    """Fault 16: no effect on any test that shares this service, none of whose processes finds a name."""
    ask = "import socket; socket.getaddrinfo('comfyui.invalid', 80)"
    environ = well.listener().environ()
    told = subprocess.run([well.python, "-c", ask], env=environ, capture_output=True, text=True, check=False)
    assert "Temporary failure in name resolution" in told.stderr
    assert well.word() == "IDLE"
