"""``explain``: why ComfyUI failed, from a log."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from tests.catalogue.logs_kept import LOGS
from tests.cli.service import Service

TAKEN = LOGS / "port_in_use" / "written-0.22.exit-1.log"


def test_it_says_what_why_and_how_to_mend_it(service: Service) -> None:
    said = service.ok("explain", str(TAKEN))
    first, evidence, *_ = said.splitlines()
    assert first == "port_in_use, almost certainly"
    assert evidence.startswith("  21  Port 8188 is already in use on address")
    assert "\nwhy  Another program listens on ComfyUI's port 8188" in said
    assert "\nfix  Stop the other program" in said


def test_programs_get_all_of_it(service: Service) -> None:
    found = json.loads(service.ok("explain", "--json", str(TAKEN)))
    keys = {"cause", "confidence", "evidence", "explanation", "fix", "also_possible", "details", "fatal"}
    assert set(found) == keys
    assert (found["cause"], found["evidence"], found["details"]) == ("port_in_use", [21], {"port": "8188"})


def test_what_nothing_explains_is_a_no(service: Service, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(os.urandom(1000))
    assert service.run("explain", str(log)).returncode == 1


def test_how_it_ended_can_be_said(service: Service) -> None:
    log = str(LOGS / "healthy" / "0.3.64-jobs.log")
    assert service.ok("explain", log).startswith("healthy")
    assert service.ok("explain", "--exit-code", "137", log).startswith("host_oom_killed, perhaps")


@pytest.mark.parametrize("name", ["not-there", "."])
def test_a_log_that_cannot_be_read_is_a_mistake(service: Service, name: str) -> None:
    assert "name a log, or - for standard input" in service.refused("explain", name)


def test_a_log_may_come_through_a_pipe(service: Service, tmp_path: Path) -> None:
    """As the shell's ``<(zcat comfyui.log.gz)`` does."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(TAKEN.read_bytes(),), daemon=True).start()
    assert service.ok("explain", str(pipe)).startswith("port_in_use, almost certainly\n  21  Port 8188")


def test_without_a_log_it_is_the_instances_own(service: Service) -> None:
    assert "so there is no log of its own" in service.refused("explain")
    service.ok("render")
    assert "ComfyUI was never started" in service.refused("explain")
    log = service.state / "logs" / "comfyui.log"
    log.parent.mkdir(exist_ok=True)
    log.write_bytes(TAKEN.read_bytes())
    assert service.ok("explain").startswith("port_in_use")


def test_what_a_terminal_obeys_is_not_shown(service: Service, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"Port 8188 is already in use on address \x1b]0;owned\x07\x1b[2J.\n")
    assert "\x1b" not in service.ok("explain", str(log))
