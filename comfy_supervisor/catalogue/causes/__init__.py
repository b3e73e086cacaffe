"""Every known cause, by topic. Data."""

from __future__ import annotations

from ..entry import Entry
from . import cuda, gpu, host, jobs, observed, python, start

ENTRIES: tuple[Entry, ...] = (
    *start.ENTRIES,
    *python.ENTRIES,
    *gpu.ENTRIES,
    *cuda.ENTRIES,
    *host.ENTRIES,
    *jobs.ENTRIES,
    *observed.ENTRIES,
)
"""All of them; where a line has signatures of several, the first one that has it is meant."""
BY_CAUSE = {entry.cause: entry for entry in ENTRIES}
