"""What a process is doing, as the kernel tells it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...launch import starts
from ..policy.evidence import Life, Vitals
from . import proc
from .ports import Port

_MANY = 256
"""Processes of one instance that are looked at; what starts more has its activity seen in these."""
_CLOSELY_EVERY = 4
"""Looks between two at all threads: each costs as much as all the rest where there are a hundred."""
_LAUNCHER = [b"-m", b"comfy_supervisor.launch"]
_DEAD = ("Z", "X")
"""States of processes that have ended, and no command line any more."""


@dataclass(frozen=True)
class Checkup:
    """What one look at an instance's process has brought."""

    life: Life
    age: float
    """Seconds since it was started, whatever it has executed since."""
    waits: bool
    """It is the launcher, or not even that yet."""
    vitals: Vitals
    pids: frozenset[int]
    """The process and all that it started."""


class Body:
    """One instance's process and all that it started, looked at again and again by one thread."""

    def __init__(self, port: int) -> None:
        """Keep the port that it is to listen on; looks at nothing yet."""
        self._number = port
        self._life: Life | None = None
        self._begin()

    def _begin(self) -> None:
        """Forget the process before."""
        self._port = Port(self._number)
        self._looks = itertools.count()
        self._family: dict[int, float] = {}
        """What it has started: pid, and when."""
        self._in_disk = False
        self._waits: bool | None = None
        self._cpu, self._io, self._faults, self._waited = _Rising(), _Rising(), _Rising(), _Rising()

    def look(self, pid: int) -> Checkup | None:
        """Return how a process is; None if there is none."""
        stat = proc.stat(pid)
        if stat is None:
            return None
        life = Life(boot_id(), pid, stat.started, stat.image)
        if self._life is None or (self._life.pid, self._life.started) != (pid, stat.started):
            self._begin()
        elif self._life != life or not stat.image:
            self._waits = None
        self._life = life
        if self._waits is None:
            self._waits = _launches(pid, stat)
        if next(self._looks) % _CLOSELY_EVERY == 0:
            self._look_closely(pid)
        age = starts.uptime() - stat.started
        family = self._relatives()
        pids = frozenset((pid, *family))
        return Checkup(life, max(0.0, age), self._waits, self._vitals(pid, stat, family), pids)

    def _look_closely(self, pid: int) -> None:
        """Find what it has started since, and whether a thread waits for a disk."""
        pids = tuple(itertools.islice(proc.descendants(pid), _MANY))
        found = {each: proc.stat(each) for each in pids}
        self._family = {each: stat.started for each, stat in found.items() if stat}
        states = (proc.stat(thread) for each in (pid, *pids) for thread in proc.threads(each))
        self._in_disk = any(stat is not None and stat.status == "D" for stat in states)

    def _relatives(self) -> dict[int, proc.Stat]:
        """Return those of what it has started that are still there."""
        found = {each: proc.stat(each) for each in self._family}
        return {each: stat for each, stat in found.items() if stat and stat.started == self._family[each]}

    def _vitals(self, pid: int, stat: proc.Stat, family: dict[int, proc.Stat]) -> Vitals:
        everybody = (stat, *family.values())
        return Vitals(
            status=stat.status,
            cpu=self._cpu.to(sum(each.cpu for each in everybody)),
            io=int(self._io.to(sum(map(proc.io, (pid, *family))))),
            faults=int(self._faults.to(sum(each.faults for each in everybody))),
            memory=sum(each.memory for each in everybody),
            waited=self._waited.to(
                sum(map(proc.waited, itertools.chain.from_iterable(map(proc.threads, (pid, *family)))))
            ),
            waits_for_disk=self._in_disk or any(each.status == "D" for each in everybody),
            listens=None if self._waits else self._port.is_held_by((pid, *family), pid),
        )


class _Rising:
    """A sum that never falls: what is taken away from it, with a process that nobody waited for, is kept."""

    def __init__(self) -> None:
        self._last = self._kept = 0.0

    def to(self, value: float) -> float:
        if value < self._last:
            self._kept += self._last - value
        self._last = value
        return value + self._kept


@cache
def boot_id() -> str:
    """Return the kernel's boot id; empty if there is none."""
    return starts.boot_id()


def goes_on(life: Life) -> bool:
    """Tell whether a life goes on: the same process, executing the same program, not dead."""
    stat = proc.stat(life.pid)
    if stat is None or (stat.status in "ZX" and stat.threads <= 1):
        return False  # a dead one with threads left has one that is stuck in the kernel
    return Life(boot_id(), life.pid, stat.started, stat.image).is_same(life)


def launches(pid: int) -> bool:
    """Tell whether a process is the launcher still, or not even that yet: whoever answers for it is somebody else."""
    stat = proc.stat(pid)
    return stat is not None and _launches(pid, stat)


def log_mark(file: str) -> int:
    """Return a number that differs whenever a log has grown, was rotated or cut; 0 if there is none."""
    try:
        status = Path(file).stat()
    except OSError:
        return 0
    return status.st_ino << 44 | status.st_size


def memory(pid: int) -> int:
    """Return the resident memory of a process and all that it started, in bytes; 0 if it is gone.

    Pages that they share are counted for each of them.
    """
    stats = map(proc.stat, (pid, *proc.descendants(pid)))
    return sum(stat.memory for stat in stats if stat)


def _launches(pid: int, stat: proc.Stat) -> bool:
    command = [word for word in proc.command(pid) if word]
    executing = not command and stat.status not in _DEAD  # in the middle of execve(2) it has none at all
    return stat.forked or executing or _is_launcher(command)


def _is_launcher(command: list[bytes]) -> bool:
    """Tell a program's own command from the one that the launcher is to become, which follows ``--``."""
    own = command[: command.index(b"--")] if b"--" in command else []
    return any(own[at : at + 2] == _LAUNCHER for at in range(len(own)))
