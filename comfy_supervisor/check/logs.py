"""Whether there are logs that a failure could be explained by."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .line import Line, fails, holds

ITEM = "logs"
_SLACK = 2.0
"""Seconds by which a file system's clock may be behind."""


@dataclass(frozen=True)
class Log:
    """A log file, as it lies there."""

    path: Path
    size: int = 0
    written: float = 0.0
    """When it was last, in seconds since the epoch."""
    trouble: str = ""
    """Why it can't be read."""


def look(path: Path) -> Log:
    """Look at a log; whoever asks must be able to read it, too."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
    except OSError as error:
        return Log(path, trouble=error.strerror or str(error))
    return Log(path, status.st_size, status.st_mtime)


def judge(own: Log, others: Sequence[Log], program: Mapping[str, str], *, started: float, now: float) -> Line:
    """Say whether there are logs to go by.

    ``own``: the instance's, of which ``program`` is the section in supervisord's configuration; ``others``:
    supervisord's and the health listener's; ``started``: when the life began, 0: there is none. Times are seconds since
    the epoch.
    """
    most, kept = _rotation(program)
    figures = {
        "log": str(own.path),
        "bytes": own.size,
        "written_seconds_ago": None if own.trouble else round(now - own.written, 1),
        "rotated_at_bytes": most,
        "backups": kept,
        "others": [str(each.path) for each in others],
    }
    for found, mend in _troubles(own, others, most, started):
        return fails(ITEM, found, mend, figures=figures)
    wrote = f"{own.path}, {_size(own.size)}, written {max(0.0, now - own.written):.0f} s ago"
    return holds(ITEM, f"{wrote}; rotated at {_size(most)}, {kept} kept", figures=figures)


def _troubles(own: Log, others: Sequence[Log], most: int, started: float) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the logs, with its mend."""
    for each in (own, *others):
        if each.trouble:
            yield f"{each.path}: {each.trouble}", "comfy-supervisor restart makes it; else look at its folder's owner"
    if own.written < started - _SLACK:
        mend = "supervisord writes elsewhere, or not: is the disk full (df -h), or was the file moved away?"
        yield f"{own.path}: this life has not written to it", mend
    if most <= 0:
        yield f"{own.path} is never rotated, and fills the disk some day", "set logs.max_bytes, then apply"


def _rotation(program: Mapping[str, str]) -> tuple[int, int]:
    """Return the size in bytes at which a program's log is rotated, 0 for never, and how many are kept."""
    most, kept = (program.get(f"stdout_logfile_{name}", "") for name in ("maxbytes", "backups"))
    return (int(most) if most.isdecimal() else 0), (int(kept) if kept.isdecimal() else 0)


def _size(count: int) -> str:
    """Return bytes as people read them."""
    for unit, factor in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if count >= factor:
            return f"{count / factor:.0f} {unit}"
    return f"{count} bytes"
