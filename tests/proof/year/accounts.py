"""What a simulated time came to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from .faults import DAY
from .load import Job

LATE = 600.0
"""Seconds after its time from which a job counts as late."""


@dataclass
class Accounts:
    """Of all instances together, under one watcher."""

    bin_seconds: float = 7 * DAY
    should: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds in which instances should have worked, by time …"""
    could: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    """… and could."""
    befell: Counter[str] = field(default_factory=Counter)
    """How often each fault happened to an instance that was well."""
    noticed: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from what went wrong to the first deed or alert …"""
    mended: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """… and until it worked again."""
    restarts: Counter[str] = field(default_factory=Counter)
    """By whom, a person included, or by ComfyUI's own end."""
    false: Counter[str] = field(default_factory=Counter)
    """Restarts of what needed none, by what it was."""
    interrupted: Counter[str] = field(default_factory=Counter)
    """Honest jobs that were asked to give up."""
    jobs: Counter[str] = field(default_factory=Counter)
    """By what became of them."""
    in_time: int = 0
    """Of the honest jobs, those that were done, at most ``LATE`` seconds after they would have been …"""
    due: int = 0
    """… of so many."""
    again: int = 0
    """Jobs that were begun more than once."""
    twice: int = 0
    """Jobs that were done more than once."""
    looks: int = 0

    def passed(self, since: float, until: float, *, should: bool, could: bool) -> None:
        """Count some time of an instance."""
        while since < until and should:
            number = int(since // self.bin_seconds)
            end = min(until, (number + 1) * self.bin_seconds)
            self.should[number] += end - since
            self.could[number] += (end - since) * could
            since = end

    def ended(self, job: Job, fate: str, now: float) -> None:
        """Count what became of a job."""
        self.jobs[fate] += 1
        self.again += job.runs > 1
        self.twice += job.ends > 1
        if fate in ("done", "failed"):
            self.due += 1
            self.in_time += (now if job.over is None else job.over) - job.ideal <= LATE
        elif fate in ("lost", "unfinished"):
            self.due += 1

    @property
    def available(self) -> float:
        """The share of the time in which an instance that should work could."""
        return sum(self.could.values()) / max(sum(self.should.values()), 1e-9)

    @property
    def prompt(self) -> float:
        """The share of the honest jobs that were done in time."""
        return self.in_time / max(self.due, 1)

    def series(self) -> Sequence[float]:
        """Return the availability over the time, one figure a bin."""
        return [self.could[number] / self.should[number] for number in sorted(self.should)]
