"""Commands that stop ComfyUI only to start it again, and are ended while it stops: it runs again."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest

from tests.cli.service import Service, Started
from tests.support import wait_until

UNWATCHED = {"health": {"watch": False}, "restart": {"stop_seconds": 1}}
WATCHED = {"restart": {"stop_seconds": 1}}


def stopping(service: Service, verb: str, tables: dict[str, Any]) -> tuple[Started, int]:
    """Begin a command, and return it while ComfyUI is being stopped, and has been made to take its time for that."""
    service.settings(**tables)
    service.ok("up", "-d")
    service.settings(**tables, comfyui={"cors_origin": "https://example.org"})
    pid = service.pid()
    os.kill(pid, signal.SIGSTOP)  # no SIGINT is heard, so supervisord kills it after stop_seconds
    command = service.start(verb, *(["--no-wait"] if verb == "apply" else []))
    wait_until(lambda: service.info().statename == "STOPPING", what=command.output)
    return command, pid


def kill(command: Started) -> None:
    command.process.kill()
    command.process.wait()


@pytest.mark.parametrize(("verb", "number"), [("restart", signal.SIGINT), ("apply", signal.SIGTERM)])
def test_asked_to_end_it_finishes_first(service: Service, verb: str, number: signal.Signals) -> None:
    """As Ctrl-C does, and systemd when a reload takes too long."""
    command, pid = stopping(service, verb, UNWATCHED)
    command.process.send_signal(number)
    assert command.end() != 0
    assert service.pid() != pid
    service.wait_for_api()
    assert not list(service.state.glob("again-*"))


@pytest.mark.parametrize("verb", ["restart", "apply"])
def test_killed_it_is_finished_by_the_health_listener(service: Service, verb: str) -> None:
    command, _ = stopping(service, verb, WATCHED)
    kill(command)
    service.wait_for_api()


def test_killed_it_is_finished_by_the_next_command(service: Service) -> None:
    """Which does not take a stop that was half done for an operator's."""
    command, _ = stopping(service, "apply", UNWATCHED)
    kill(command)
    wait_until(lambda: service.info().statename == "STOPPED")
    said = service.ok("apply")
    assert "stays stopped" not in said
    service.wait_for_api()
    assert "https://example.org" in psutil.Process(service.pid()).cmdline()
    assert not list(service.state.glob("again-*"))


@pytest.mark.parametrize("next_one", ["start", "stop"])
def test_killed_it_leaves_an_operator_the_last_word(service: Service, next_one: str) -> None:
    command, _ = stopping(service, "restart", UNWATCHED)
    kill(command)
    wait_until(lambda: service.info().statename == "STOPPED")
    service.ok(next_one)
    if next_one == "start":
        service.wait_for_api()
        service.ok("stop")
    assert "comfyui: stays stopped\n" in service.ok("apply")
    assert service.info().statename == "STOPPED"
