"""Processes that an earlier life of an instance left behind: they hold its port, its GPU's memory, its files.

A crash never ends the rest of a process group, and what a custom node started may have left the group anyway.
So they are known by their environment, which the launcher's children all inherit.
"""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MARKS = ("COMFY_SUPERVISOR_INSTANCE", "COMFY_SUPERVISOR_STATE")
"""The variables that tell whose child a process is."""

_KILLED_WITHIN = 2.0
"""Seconds after which a process that got SIGKILL is taken for one that can't die."""


class Orphan:
    """A process of an earlier life."""

    def __init__(self, pid: int, born: str) -> None:
        """Keep its pid and its start time (clock ticks since the boot), which together are never used twice."""
        self.pid = pid
        self.born = born

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie doesn't, unless it has threads left, which hold its port and its files."""
        stat = _stat(self.pid)
        return bool(stat) and stat[_BORN] == self.born and not _has_ended(stat)

    def __str__(self) -> str:
        """Return ``python (pid 123)``."""
        from . import lastword  # noqa: PLC0415  only when there is something to tell

        try:
            with open(f"/proc/{self.pid}/comm", encoding="utf-8", errors="replace") as file:
                return f"{lastword.printable(file.read())} (pid {self.pid})"
        except OSError:
            return f"pid {self.pid}"

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still the same process."""
        try:
            if self.alive:
                os.kill(self.pid, number)
        except OSError:
            return


def marks(folder: str) -> dict[str, str]:
    """Return what the environment of an instance's processes has, by its state folder."""
    return dict(zip(MARKS, (os.path.basename(folder), folder), strict=True))


def find(environment: Mapping[str, str]) -> list[Orphan]:
    """Return the processes that bear this environment's marks, other than this one and its ancestors.

    Those of other users are found only by root.
    """
    marks = [os.fsencode(f"\0{name}={environment[name]}\0") for name in MARKS]
    spared = _lineage()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in spared and _bears(entry, marks):
            stat = _stat(int(entry))
            if stat:
                found.append(Orphan(int(entry), stat[_BORN]))
    return [orphan for orphan in found if orphan.alive]


def has_ended(pid: int) -> bool:
    """Tell whether a process is no more, or a zombie: some containers' first process never asks how others ended."""
    return _has_ended(_stat(pid))


def is_ending(pid: int) -> bool:
    """Tell whether a process has been killed, and holds its ports only until its memory is freed.

    That takes seconds where it is large, and nobody can read any more whose child it is.
    """
    stat = _stat(pid)
    return bool(stat) and bool(int(stat[_FLAGS]) & _EXITING)


def are_ending() -> bool:
    """Tell whether that is so of anybody on this machine, and not over yet."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return any(is_ending(pid) and not _has_ended(_stat(pid)) for pid in pids)


def elsewhere(environment: Mapping[str, str]) -> str:
    """Return which of these processes another supervisord runs, in words; empty if none: they are no orphans."""
    kept = keeper(environment)
    if kept is None:
        return ""
    return f"{kept[0]} is this instance, run by another supervisord (pid {kept[1]}): stop one of the two"


def keeper(environment: Mapping[str, str]) -> tuple[Orphan, int] | None:
    """Return the one of these processes that another supervisord runs, and that one's pid; None if there is none."""
    found = find(environment)
    family = {orphan.pid for orphan in found} | {os.getppid()}
    for orphan in found:
        stat = _stat(orphan.pid)
        parent = int(stat[_PARENT]) if stat else 0
        if parent not in family and b"supervisord" in _command(parent):
            return orphan, parent
    return None


def end_left(environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """End what an earlier life of an instance left; what another supervisord runs is none of it."""
    if not elsewhere(environment):
        end(find(environment), say)


def end(orphans: Iterable[Orphan], say: Callable[[str], None], patience: float = 5.0) -> list[Orphan]:
    """End processes, with SIGTERM and after ``patience`` seconds with SIGKILL; return those that survive.

    ``say`` is told what was ended, and how.
    """
    left = [orphan for orphan in orphans if orphan.alive]
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, _KILLED_WITHIN)):
        names = {orphan.pid: str(orphan) for orphan in left}
        for orphan in left:
            orphan.signal(number)
        remaining = _outlive(left, wait)
        for orphan in left:
            if orphan not in remaining:
                say(f"ended {names[orphan.pid]}, left from an earlier life, with {number.name}")
        left = remaining
    return left


def _outlive(orphans: list[Orphan], wait: float) -> list[Orphan]:
    """Return who is alive after ``wait`` seconds; at once when nobody is."""
    deadline = time.monotonic() + wait
    while alive := [orphan for orphan in orphans if orphan.alive]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.02)
    return alive


_STATE, _PARENT, _FLAGS, _THREADS, _BORN = 0, 1, 6, 17, 19
"""Places in /proc/PID/stat, counted from behind the name (proc(5): fields 3, 4, 9, 20 and 22)."""
_EXITING = 0x4
"""PF_EXITING, of include/linux/sched.h."""


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name, empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _has_ended(stat: list[str]) -> bool:
    """Tell whether a process holds nothing any more: it is gone, or a zombie without threads."""
    return not stat or (stat[_STATE] in "ZX" and int(stat[_THREADS]) <= 1)


def _command(pid: int) -> bytes:
    """Return the command line of a process; empty if that can't be read."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _lineage() -> set[int]:
    """Return this process and its ancestors."""
    lineage = set()
    pid = os.getpid()
    while pid and pid not in lineage:
        lineage.add(pid)
        stat = _stat(pid)
        pid = int(stat[_PARENT]) if stat else 0
    return lineage


def _bears(pid: str, marks: list[bytes]) -> bool:
    """Tell whether a process has all marks in its environment; no if that can't be read."""
    try:
        descriptor = os.open(f"/proc/{pid}/environ", os.O_RDONLY)
    except OSError:
        return False
    environ = b"\0"
    try:
        while chunk := os.read(descriptor, 131072):
            environ += chunk
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return all(mark in environ for mark in marks)
