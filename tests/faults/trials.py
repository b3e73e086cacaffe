"""What tests of several faults do to a patient."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.patient import Patient


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process by a signal for as long as the block lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def falls_ill_and_is_restarted(patient: Patient) -> int:
    """Show that supervision works: what a signal stops runs again; return the new pid."""
    pid = patient.pid()
    os.kill(pid, signal.SIGSTOP)
    after = patient.wait_for_next_life(pid)
    patient.wait_for(lambda: patient.word() == "IDLE" and patient.health()["pid"] == after, what="well again")
    return after


def reconfigure(patient: Patient, old: str, new: str, more: str = "") -> None:
    """Change a line of what was rendered, add to it, and have supervisord take it over."""
    text = patient.conf.read_text()
    assert old in text
    patient.conf.write_text(text.replace(old, new) + more)
    done = patient.supervisorctl("update")
    assert done.returncode == 0, done
    patient.wait_for(lambda: patient.info("comfyui-health").statename == "RUNNING", what="the listener runs")


def supervisords_log(patient: Patient) -> str:
    """Return supervisord's own log."""
    (file,) = re.findall(r"(?m)^logfile=(.*)$", patient.conf.read_text())
    return Path(file).read_text()
