"""When errors of ours go on: a process that gets no thread or memory any more does nothing, and a new one may."""

from __future__ import annotations

MOST = 3
"""Failed looks …"""
WITHIN = 120.0
"""… in so many seconds …"""
OVER = 20.0
"""… of which the last came so long after the first: what passes by itself is waited out."""


class OwnErrors:
    """Those of one watch."""

    def __init__(self) -> None:
        """Begin without any."""
        self._times: list[float] = []

    def note(self, now: float) -> None:
        """Note that a look or a deed has failed by our own fault; ``now`` in seconds, by a clock that doesn't jump."""
        self._times = [*(at for at in self._times if now - at < WITHIN), now][-1000:]

    @property
    def go_on(self) -> bool:
        """Whether a new process had better take over."""
        return len(self._times) >= MOST and self._times[-1] - self._times[0] >= OVER
