"""Orphans are found by their environment, ended politely first, and nobody else is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from comfy_supervisor.launch import orphans
from tests.support import running, wait_until

SLEEP = "import time; print(flush=True); time.sleep(1000)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(1000)"


@pytest.fixture
def marks(tmp_path: Path) -> dict[str, str]:
    return {"COMFY_SUPERVISOR_INSTANCE": "gpu0", "COMFY_SUPERVISOR_STATE": f"{tmp_path}/ü/gpu0"}


def test_only_processes_with_both_marks_are_found(marks: dict[str, str]) -> None:
    other_instance = {**marks, "COMFY_SUPERVISOR_INSTANCE": "gpu01"}
    other_state = {**marks, "COMFY_SUPERVISOR_STATE": marks["COMFY_SUPERVISOR_STATE"] + "1"}
    look_alike = {"X_COMFY_SUPERVISOR_INSTANCE": "gpu0", "COMFY_SUPERVISOR_STATE": marks["COMFY_SUPERVISOR_STATE"]}
    with running(SLEEP, marks) as mine, running(SLEEP, other_instance), running(SLEEP, other_state):  # noqa: SIM117
        with running(SLEEP, look_alike):
            assert [orphan.pid for orphan in orphans.find(marks)] == [mine.pid]


def test_neither_oneself_nor_an_ancestor_is_found(marks: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, subprocess, sys; from comfy_supervisor.launch import orphans\n"
        "print([orphan.pid for orphan in orphans.find(os.environ)], flush=True)\n"
        "if len(sys.argv) == 1: subprocess.run([sys.executable, __file__, 'child'])\n"
    )
    environment = {**os.environ, **marks}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_a_zombie_is_not_alive(marks: dict[str, str]) -> None:
    with running(SLEEP, marks) as process:
        (orphan,) = orphans.find(marks)
        process.kill()
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        assert not orphan.alive
        assert orphans.find(marks) == []


def test_one_whose_threads_outlive_its_first_is_alive(marks: dict[str, str], tmp_path: Path) -> None:
    """They have the port still: it is free once they are gone."""
    code = (
        "import ctypes, os, threading, time; threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        f"print(flush=True)\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    with running(code, marks) as process:
        (orphan,) = orphans.find(marks)
        (tmp_path / "go").touch()
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        assert orphan.alive
        process.kill()
        wait_until(lambda: not orphan.alive)


def test_an_orphan_is_ended_and_named(marks: dict[str, str]) -> None:
    said: list[str] = []
    with running(SLEEP, marks) as process:
        assert orphans.end(orphans.find(marks), said.append) == []
        assert process.wait(10) == -15
    assert len(said) == 1
    assert said[0].endswith(f"(pid {process.pid}), left from an earlier life, with SIGTERM")


def test_one_that_ignores_sigterm_is_killed(marks: dict[str, str]) -> None:
    said: list[str] = []
    with running(DEAF, marks) as process:
        assert orphans.end(orphans.find(marks), said.append, patience=0.2) == []
        assert process.wait(10) == -9
    assert [text.rpartition(" ")[2] for text in said] == ["SIGKILL"]


def test_a_pid_that_was_used_again_is_left_alone(marks: dict[str, str]) -> None:
    with running(SLEEP, marks) as process:
        predecessor = orphans.Orphan(process.pid, "1")
        assert orphans.end([predecessor], pytest.fail) == []
        assert process.poll() is None


def test_one_that_cannot_be_killed_is_returned(marks: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As one in an uninterruptible sleep: signals are sent, and nothing happens."""
    monkeypatch.setattr(orphans, "_KILLED_WITHIN", 0.1)
    monkeypatch.setattr(orphans.Orphan, "signal", lambda *_: None)
    with running(SLEEP, marks):
        found = orphans.find(marks)
        assert len(found) == 1
        assert orphans.end(found, pytest.fail, patience=0.1) == found


def test_one_whose_parent_never_asks_has_ended_all_the_same(marks: dict[str, str]) -> None:
    """As in a container whose first process is ``sleep infinity``: nobody takes a zombie away."""
    with running(SLEEP, marks) as process:
        assert not orphans.has_ended(process.pid)
        process.kill()
        wait_until(lambda: orphans.has_ended(process.pid))
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        process.wait()
        assert orphans.has_ended(process.pid)
