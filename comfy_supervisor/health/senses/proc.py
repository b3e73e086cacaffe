"""What the kernel tells of a process: figures from Linux's /proc, see proc(5). Nothing here raises OSError."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

_TICKS = os.sysconf("SC_CLK_TCK")
"""Per second."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FORKED = 0x40
"""PF_FORKNOEXEC, which the kernel sets in a child and clears when that executes a program."""


@dataclass(frozen=True)
class Stat:
    """``/proc/PID/stat``, as far as it is of use here."""

    status: str
    forked: bool
    """It has not executed a program of its own yet."""
    faults: int
    """Major ones; these and the CPU's seconds with those of children that have ended and were waited for."""
    cpu: float
    started: float
    """Seconds since boot."""
    memory: int
    """Resident bytes."""
    image: int
    """The address of the stack's beginning; 0 for those who may not read it."""
    threads: int


def stat(pid: int | str) -> Stat | None:
    """Return a process's figures, or, given ``PID/task/TID``, a thread's; None if it is gone."""
    text = _read(f"/proc/{pid}/stat")
    if not text:
        return None
    # its name is in parentheses, and may hold any character; the fields from the third on follow
    rest = text[text.rindex(b")") + 2 :].split()
    return Stat(
        status=chr(rest[0][0]),
        forked=bool(int(rest[6]) & _FORKED),
        faults=int(rest[9]) + int(rest[10]),
        cpu=sum(map(int, rest[11:15])) / _TICKS,
        started=int(rest[19]) / _TICKS,
        memory=int(rest[21]) * _PAGE,
        image=int(rest[25]),
        threads=int(rest[17]),
    )


def io(pid: int) -> int:
    """Return how many bytes a process and its ended children have read and written; 0 where that may not be read.

    Both what went through read and write, where the page cache may have served it, and what came from and went to a
    disk, which is all that shows of a file that is mapped into memory. Many bytes are counted twice. What sockets
    send and receive is in neither, so that ComfyUI's answers are no activity.
    """
    figures = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines())
    return sum(int(figures.get(name, 0)) for name in (b"rchar", b"wchar", b"read_bytes", b"write_bytes"))


def command(pid: int) -> list[bytes]:
    """Return a process's command line."""
    return _read(f"/proc/{pid}/cmdline").rstrip(b"\0").split(b"\0")


def catches(pid: int, signal: int) -> bool:
    """Tell whether a process has a handler of its own for a signal."""
    for line in _read(f"/proc/{pid}/status").split(b"\n"):  # a process's name, the first one, may have a \r in it
        if line.startswith(b"SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal - 1) & 1)
    return False


def threads(pid: int) -> list[str]:
    """Return a process's threads, each as ``stat`` takes it."""
    try:
        return [f"{pid}/task/{entry.name}" for entry in os.scandir(f"/proc/{pid}/task")]
    except OSError:
        return []


def waited(thread: str) -> float:
    """Return the seconds that a thread has been ready to run without a CPU; 0 where the kernel doesn't count them.

    The second figure of Documentation/scheduler/sched-stats.rst's ``/proc/PID/schedstat``.
    """
    figures = _read(f"/proc/{thread}/schedstat").split()
    return int(figures[1]) / 1e9 if len(figures) > 1 else 0.0


def descendants(pid: int) -> Iterator[int]:
    """Give all processes that a process and its children have started."""
    if not _has_children():
        yield from _scanned(pid)
        return
    waiting = [pid]
    while waiting:
        for thread in threads(waiting.pop()):
            for child in map(int, _read(f"/proc/{thread}/children").split()):
                waiting.append(child)
                yield child


@cache
def _has_children() -> bool:
    """Tell whether the kernel lists children: CONFIG_PROC_CHILDREN, which nearly all have."""
    return Path("/proc/thread-self/children").exists()


def _scanned(pid: int) -> list[int]:
    """Return the same from a look at every process there is."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _read(path: str) -> bytes:
    """Return what the kernel says; nothing if it says nothing, as of a process that is gone or another user's."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, 65536)
    except OSError:
        return b""
    finally:
        os.close(file)
