"""All figures of an instance, put together."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..catalogue import TELLS_NOTHING
from ..health import gaps
from ..health.gaps import Gap
from ..incidents import store
from ..incidents.incident import Kind
from . import health, jobs, looks
from .health import Restarts, Times
from .jobs import Jobs, Kept
from .looks import Process


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
    restarts = health.restarts(seen, unseen, since, _causes(folder, since))
    return Figures(health.times(seen, unseen, since, until), restarts, counted, kept)


def _causes(folder: Path, since: float) -> dict[Process, str]:
    """Return the causes that incidents of this time found in the log of a process that ended without us."""
    causes: dict[Process, str] = {}
    with suppress(OSError):
        for one in store.every(folder.parent / store.FOLDER, folder.name):
            if one.at < since:
                break
            if one.kind is Kind.CRASH and one.cause not in TELLS_NOTHING:
                causes[one.boot, one.pid, one.started] = one.cause
    return causes


def _until_now(folder: Path, until: float) -> list[Gap]:
    """Return the gap that lasts, where the listener has not looked of late."""
    last = gaps.last_look(folder)
    return [Gap(last, until)] if last is not None and until - last > gaps.SHORTEST else []
