"""``gaps.jsonl``: when nobody looked at an instance, so that its history counts no such time as well or ill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..launch import records
from .ledger import REFRESH, STATUS, append, entries

NAME = "gaps.jsonl"
SHORTEST = 2 * REFRESH
"""Seconds: of an earlier listener's last look no more is known than the age of its status file."""
_MOST_BYTES = 256 * 1024
"""Size at which the file is put aside; some thousand gaps."""


@dataclass(frozen=True)
class Gap:
    """A time without a look, in seconds since the epoch."""

    begin: float
    end: float


class Gaps:
    """Notes one instance's; a file that can't be written costs the note, and nothing else."""

    def __init__(self, folder: Path) -> None:
        """Keep the instance's state folder; reads nothing yet."""
        self._folder = folder
        self._last: float | None = None

    def look(self, now: float) -> None:
        """Note that it is looked at, before the status file tells so; ``now`` in seconds since the epoch."""
        last = last_look(self._folder) if self._last is None else self._last
        self._last = now
        if last is not None and now - last > SHORTEST:
            with suppress(OSError):
                append(self._folder / NAME, json.dumps({"v": 1, "begin": last, "end": now}), _MOST_BYTES)


def last_look(folder: Path) -> float | None:
    """Return when the listener looked last, as its status file tells, in seconds since the epoch; None: never."""
    try:
        return records.number((records.read(str(folder / STATUS)) or {}).get("at"))
    except (records.MalformedError, ValueError):
        return None


def read(folder: Path) -> Iterator[Gap]:
    """Yield the gaps that are written down, the oldest first; what makes no sense is passed over."""
    for found in entries(folder / NAME):
        with suppress(ValueError, TypeError, LookupError):
            yield Gap(records.number(found["begin"]), records.number(found["end"]))
