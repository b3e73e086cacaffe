"""What supervisord answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

ENDING = "supervisord is being shut down"
"""What the fault SHUTDOWN_STATE means, in words."""
FAULTS = {
    1: "UNKNOWN_METHOD",
    2: "INCORRECT_PARAMETERS",
    3: "BAD_ARGUMENTS",
    4: "SIGNATURE_UNSUPPORTED",
    6: "SHUTDOWN_STATE",
    10: "BAD_NAME",
    11: "BAD_SIGNAL",
    20: "NO_FILE",
    21: "NOT_EXECUTABLE",
    30: "FAILED",
    40: "ABNORMAL_TERMINATION",
    50: "SPAWN_ERROR",
    60: "ALREADY_STARTED",
    70: "NOT_RUNNING",
    80: "SUCCESS",
    90: "ALREADY_ADDED",
    91: "STILL_RUNNING",
    92: "CANT_REREAD",
}
"""supervisor.xmlrpc.Faults."""

UP = frozenset({"STARTING", "RUNNING", "BACKOFF"})
"""The states that supervisord calls running: a start is refused, a stop is possible."""


@dataclass(frozen=True)
class Fault:
    """supervisord answered: no."""

    code: int
    name: str
    """As in FAULTS: ``BAD_NAME``."""
    text: str

    def __str__(self) -> str:
        """Return what supervisord said."""
        return self.text


@dataclass(frozen=True)
class Unreachable:
    """No answer, or none that makes sense; whether the call took effect isn't known."""

    text: str

    def __str__(self) -> str:
        """Return what went wrong."""
        return self.text


def program_name(group: str, process: str) -> str:
    """Return a process's name for supervisorctl: that of a group of one is the group's."""
    return process if group == process else f"{group}:{process}"


@dataclass(frozen=True)
class Process:
    """One program, as supervisord sees it."""

    group: str
    name: str
    statename: str
    """STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN."""
    pid: int
    """0 if it doesn't run."""
    start: int
    """When it was started last, seconds since the epoch; 0: never."""
    stop: int
    now: int
    spawnerr: str
    stdout_logfile: str
    stderr_logfile: str

    @property
    def program(self) -> str:
        """Its name for supervisorctl: ``comfyui`` or ``comfyui:gpu1``."""
        return program_name(self.group, self.name)

    @property
    def refusal(self) -> str:
        """Why it can't be started; empty: nothing is known to be in the way.

        After an end that was not expected supervisord keeps ``Bad exit code 1`` in the same place, and of a signal
        ``Bad exit code -1`` (Subprocess.finish in supervisor/process.py): that is no refusal.
        """
        return "" if self.spawnerr.startswith("Bad exit code") else self.spawnerr


@dataclass(frozen=True)
class Changes:
    """What a configuration read anew would change: names of groups."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


T = TypeVar("T")
Failure = Fault | Unreachable
"""For ``isinstance``."""
Answer: TypeAlias = T | Fault | Unreachable
