"""Events become messages, and messages are tried again: pure, with the time passed in (seconds since the epoch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from .message import Event, event

MOST = 50
"""Different events that one message tells of; those beyond are only counted."""
_FIRST, _LONGEST = 5.0, 600.0
"""Seconds before the second try, doubled up to the longest such wait."""


def delay(tries: int) -> float:
    """Return how long to wait after so many tries in vain, in seconds."""
    return float(min(_FIRST * 2.0 ** min(max(tries - 1, 0), 32), _LONGEST))


class Collector:
    """Gathers the events of some seconds, so that a storm is one message."""

    def __init__(self) -> None:
        """Begin with none."""
        self.events: dict[tuple[str, str, str], Event] = {}
        self.left_out = 0
        self._begun: float | None = None

    def add(self, new: Event, now: float) -> None:
        """Take an event; one that is here already is counted."""
        self._begun = now if self._begun is None else self._begun
        known = self.events.pop(new.key, None)
        if known is None and len(self.events) >= MOST:
            self.left_out += new.count
        elif known is None:
            self.events[new.key] = new
        else:
            self.events[new.key] = replace(new, at=known.at, count=known.count + new.count)

    def due(self, now: float, collect: float) -> float | None:
        """Return in how many seconds it is time for the message, 0: now; None: there is nothing to tell."""
        if self._begun is None:
            return None
        left = self._begun + collect - now
        return left if 0.0 < left <= collect else 0.0  # a clock that was set back makes nobody wait

    def clear(self) -> None:
        """Forget what was taken: it is told."""
        self.events, self.left_out, self._begun = {}, 0, None

    def values(self) -> dict[str, Any]:
        """Return all of it, for the disk."""
        return {
            "begun": self._begun,
            "left_out": self.left_out,
            "events": [asdict(each) for each in self.events.values()],
        }

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take up what an earlier one had gathered; raises ValueError, TypeError or LookupError if that's nonsense."""
        events = [event(each) for each in values["events"]]
        begun, left_out = float(values["begun"]), int(values["left_out"])
        self.events, self._begun, self.left_out = {each.key: each for each in events}, begun, left_out
