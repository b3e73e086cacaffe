"""One instance's jobs, as its users submit them: the same under whatever watches over it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .clockwork import exact
from .faults import FAULTS, YEAR, Fault

EVERY = 240.0
"""Seconds between two jobs, in the mean."""
TYPICAL = 45.0
"""Seconds that half of the jobs take at most; the mean is 75."""
LONGEST = 2400.0
"""Seconds that none takes longer (a video)."""
MOST = 0.3
"""Share of the jobs that have something to them at most, however often that is said to be."""


@dataclass
class Job:
    """One job, and what became of it."""

    at: float
    """When it is submitted first."""
    seconds: float
    ideal: float
    """When it would be done if nothing ever went wrong."""
    fault: Fault | None = None
    runs: int = 0
    ends: int = 0
    """How often it came to its end …"""
    over: float | None = None
    """… and when it did first."""
    prompt_id: str = ""

    def end(self, now: float) -> None:
        """Note that it has come to its end."""
        self.ends += 1
        self.over = now if self.over is None else self.over


@dataclass
class Load:
    """An instance's jobs, in the order in which they come."""

    chance: random.Random
    often: float = 1.0
    """How many times as often as usual something is wrong with a job."""
    _ahead: deque[Job] = field(default_factory=deque)

    def __post_init__(self) -> None:
        """Have the chance of each fault at hand."""
        self._faults = [fault for fault in FAULTS if fault.of == "job"]
        shares = [fault.rate * self.often * EVERY / YEAR for fault in self._faults]
        scale = min(1.0, MOST / max(sum(shares), 1e-9))
        self._shares = [share * scale for share in shares]
        self._special = sum(self._shares)
        self._jobs = self._come()

    def next(self) -> Job:
        """Return the next job, which stays the next one."""
        if not self._ahead:
            self._ahead.append(next(self._jobs))
        return self._ahead[0]

    def take(self) -> Job:
        """Return the next job; the one after it is the next then."""
        self.next()
        return self._ahead.popleft()

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Have these come next."""
        self._ahead.extendleft(reversed(jobs))

    def group(self, apart: float) -> list[Job]:
        """Take the next jobs, up to where there is nothing to do for so many seconds if nothing goes wrong."""
        jobs = [self.take()]
        over = jobs[0].at + jobs[0].seconds
        while self.next().at < over + apart:
            jobs.append(self.take())
            over = max(over, jobs[-1].at) + jobs[-1].seconds
        return jobs

    def _come(self) -> Iterator[Job]:
        chance, at, ideal = self.chance, 0.0, 0.0
        while True:
            at += exact(chance.expovariate(1 / EVERY))
            seconds, fault = min(2.0 + chance.lognormvariate(3.75, 1.0), LONGEST), None
            if chance.random() < self._special:
                (fault,) = chance.choices(self._faults, self._shares)
                seconds = chance.uniform(*fault.lasts) if fault.lasts[1] else seconds
            seconds = exact(seconds)
            ideal = max(at, ideal) + seconds
            yield Job(at, seconds, ideal, fault)
