"""What became of an instance's jobs, and how long they took and waited: from its journal, read and never made."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ..jobs.job import State
from ..jobs.journal import BAND, Journal
from .numbers import Sum

_SINCE = """
SELECT state, number, accepted, begun, changed FROM jobs
WHERE state IN ('done', 'failed', 'deleted') AND changed >= ? ORDER BY changed
"""
_BEFORE = "SELECT max(changed) FROM jobs WHERE state IN ('done', 'failed') AND changed < ?"
_ASIDE = "SELECT count(*) FROM jobs WHERE state = 'quarantined' AND changed >= ?"
_KEPT = "SELECT count(*), min(changed) FROM jobs WHERE state IN ('done', 'failed', 'deleted')"


@dataclass(frozen=True)
class Jobs(Sum):
    """Jobs that ended, or were set aside, in a span of time; durations in seconds."""

    done: int = 0
    failed: int = 0
    deleted: int = 0
    quarantined: int = 0
    """Set aside in that time, and still so."""
    rescued: int = 0
    """Of those that are done: they were submitted again after ComfyUI had ended."""
    ran: array[float] = field(default_factory=lambda: array("d"))
    """How long each job that is done took, from its turn to its end."""
    waited: array[float] = field(default_factory=lambda: array("d"))
    """How long each job that is done, or has failed, waited for its turn."""


@dataclass(frozen=True)
class Kept:
    """How far back a journal goes."""

    count: int = 0
    """Jobs that have ended, and are remembered."""
    oldest: float | None = None
    """When the oldest of them ended, seconds since the epoch."""


Row = tuple[str, float, float, "float | None", float]
"""A job that has ended: its state, its number in the queue, when it was accepted, last begun (None: nobody saw that),
and when it ended."""


def read(folder: Path, since: float) -> tuple[Jobs, Kept]:
    """Return an instance's jobs from ``since`` (seconds since the epoch) on, none where there is no journal.

    Raises JournalError.
    """
    with closing(Journal(folder, make=False)) as journal:
        if not journal.exists:
            return Jobs(), Kept()
        with journal.reading() as sql:
            (before,) = sql.execute(_BEFORE, (since,)).fetchone()
            (aside,) = sql.execute(_ASIDE, (since,)).fetchone()
            kept = Kept(*sql.execute(_KEPT).fetchone())
            return counted(sql.execute(_SINCE, (since,)), before or 0.0, aside), kept


def counted(rows: Iterable[Row], before: float, quarantined: int) -> Jobs:
    """Return what jobs, in the order in which they ended, come to; ``before`` is when the one before them ended.

    A job's turn is when its last run began. Where nobody saw that: when the job before it had ended, or when it came,
    if that is later, since ComfyUI does one job at a time.
    """
    counts = dict.fromkeys((State.DONE, State.FAILED, State.DELETED), 0)
    rescued, ran, waited = 0, array("d"), array("d")
    for name, number, accepted, begun, ended in rows:
        state = State(name)
        counts[state] += 1
        if state is State.DELETED:
            continue  # most of them never had their turn
        turn = min(max(accepted, before if begun is None else begun), ended)
        waited.append(max(0.0, turn - accepted))
        before = max(before, ended)
        if state is State.DONE:
            ran.append(ended - turn)
            rescued += BAND <= number < BAND / 2
    done, failed, deleted = counts.values()
    return Jobs(done, failed, deleted, quarantined, rescued, ran, waited)
