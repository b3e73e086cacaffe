"""Time that passes as fast as things happen."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any


def exact(seconds: float) -> float:
    """Return a time of which sums and differences are exact, whatever their order: a multiple of 1/1024 s."""
    return round(seconds * 1024) / 1024


class Clockwork:
    """What is to happen, in order; of what is to happen at the same time, what was asked for first."""

    def __init__(self) -> None:
        """Begin at the first second."""
        self.now = 0.0
        self.jump = 0.0
        """Seconds by which the wall clock is ahead."""
        self.outage = ("", 0.0)
        """What befell the whole machine last, and until when: who comes up meanwhile meets it, too."""
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = count()
        self._said: deque[str] = deque(maxlen=60)

    @property
    def wall(self) -> float:
        """The wall clock."""
        return 1.7e9 + self.now + self.jump

    def at(self, when: float, deed: Callable[..., None], *arguments: Any) -> None:
        """Have something happen at a time."""
        heapq.heappush(self._due, (max(exact(when), self.now), next(self._number), deed, arguments))

    def run(self, until: float) -> None:
        """Let all happen that is due by then."""
        while self._due and self._due[0][0] <= until:
            self.now, _, deed, arguments = heapq.heappop(self._due)
            deed(*arguments)
        self.now = until

    def skip(self, seconds: float) -> None:
        """Stand still for so long: what was to happen happens so much later."""
        seconds = exact(seconds)
        self._due = [(when + seconds, *rest) for when, *rest in self._due]  # type: ignore[misc]
        self.outage = (self.outage[0], self.outage[1] + seconds)
        self.now += seconds

    def note(self, who: str, what: str) -> None:
        """Keep what happened, for whoever has to find out why."""
        self._said.append(f"{self.now:>14.1f} s  {who}: {what}")

    def told(self) -> str:
        """Return what happened last."""
        return "\n".join(self._said)
