"""All figures of an instance, put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..health import gaps
from ..health.gaps import Gap
from . import health, jobs, looks
from .health import Restarts, Times
from .jobs import Jobs, Kept


@dataclass(frozen=True)
class Figures:
    """What a span of time came to."""

    times: Times
    restarts: Restarts
    jobs: Jobs
    kept: Kept

    def __add__(self, other: Figures) -> Figures:
        """Return both together; how far their journals go back is each one's own."""
        return Figures(self.times + other.times, self.restarts + other.restarts, self.jobs + other.jobs, Kept())


NOTHING = Figures(Times(), Restarts(), Jobs(), Kept())


def read(folder: Path, since: float, until: float) -> Figures:
    """Return the figures of the instance with this state folder; times in seconds since the epoch.

    ``until`` is now. Raises JournalError if there is a journal that can't be read.
    """
    seen = list(looks.read(folder))
    unseen = [*gaps.read(folder), *_until_now(folder, until)]
    counted, kept = jobs.read(folder, since)
    return Figures(health.times(seen, unseen, since, until), health.restarts(seen, unseen, since), counted, kept)


def _until_now(folder: Path, until: float) -> list[Gap]:
    """Return the gap that lasts, where the listener has not looked of late."""
    last = gaps.last_look(folder)
    return [Gap(last, until)] if last is not None and until - last > gaps.SHORTEST else []
