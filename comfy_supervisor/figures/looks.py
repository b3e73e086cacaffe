"""The listener's decisions, read as far as figures need them: one small value a line, malformed ones left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..health import ledger
from ..launch import records

Process = tuple[str, int, float]
"""The kernel's boot id, a pid, and when the process was started."""


@dataclass(frozen=True)
class Look:
    """One line of the decisions. Times are seconds since the epoch."""

    at: float
    word: str
    deed: str = "nothing"
    cause: str = "healthy"
    process: Process | None = None
    """What ran in the instance's place; None: nothing."""
    before: Process | None = None
    """What ran at the look before, if that was ComfyUI and we had not ended it."""
    ending: str | None = None
    """How the life before ended, as supervisord tells; None: not known (yet)."""
    fault: str = ""
    """The cause's id, where that end was a configuration fault."""
    lives: int = 0
    """How many times ComfyUI was started so far; 0: can't be told."""
    undetected: float | None = None
    """Seconds since the last sign that all was well; None: there was none."""


def read(folder: Path) -> Iterator[Look]:
    """Yield an instance's decisions, the oldest first, its older file's among them; what can't be read is left out."""
    for line in ledger.entries(folder / ledger.DECISIONS):
        with suppress(ValueError, TypeError, LookupError, AttributeError, OverflowError):
            yield understood(line)


def understood(line: dict[str, Any]) -> Look:
    """Return what a decision tells; raises one of five errors, which ``read`` names, if it makes no sense.

    Fields that had their defaults were not written down.
    """
    before, seen, verdict = line.get("before", {}), line["seen"], line["verdict"]
    ending = seen.get("ending")
    ours = before.get("ended", False) or before.get("waits", False)
    return Look(
        at=datetime.fromisoformat(line["at"]).timestamp(),
        word=str(verdict["word"]),
        deed=str(verdict.get("deed", "nothing")),
        cause=str(verdict.get("cause", "healthy")),
        process=_process(seen.get("life")),
        before=None if ours else _process(before.get("life")),
        ending=None if ending is None else str(ending.get("text", "")),
        fault="" if ending is None else str(ending.get("cause", "")),
        lives=int(seen.get("lives", 0)),
        undetected=_undetected(line["now"], before, str(verdict.get("cause", ""))),
    )


def _process(life: dict[str, Any] | None) -> Process | None:
    return None if life is None else (str(life["boot"]), int(life["pid"]), float(life["started"]))


def _undetected(now: float, before: dict[str, Any], cause: str) -> float | None:
    """Return for how long nothing had been well: no step of a stalled job, else no good answer, or none since a start.

    These clocks are CLOCK_MONOTONIC, as ``now`` is.
    """
    sign = before.get("progress") if cause == "stalled" else before.get("answered")
    began = before.get("began") if sign is None else sign
    return None if began is None else max(0.0, records.number(now) - records.number(began))
