"""The launcher of one instance, in simulated time: the real rules of holds and of the backoff."""

from __future__ import annotations

from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.launch import holds, starts
from comfy_supervisor.launch.holds import Hold

from .instance import Instance

_POLL = 1.0
_SLOW_POLL = 20.0
"""Seconds between two looks at a hold that only a person lifts."""


class Launcher:
    """What stands between supervisord's start of the program and ComfyUI."""

    def __init__(self, instance: Instance, rules: Rules) -> None:
        """Have no record of an earlier start."""
        self._instance = instance
        self._backoff = starts.Backoff(rules.first_delay, rules.longest_delay, rules.healthy_after)
        self.hold: Hold | None = None
        self.start: starts.Start | None = None
        self._failures = 0
        self._own_until = 0.0
        self._began = self._waited_since = 0.0
        self._sits_out: Hold | None = None

    def begin(self) -> None:
        """Count the short lives, and wait for whatever has to be waited for."""
        now = self._instance.now
        if self.hold and self.hold.by == holds.LAUNCHER:
            self.hold = None
        last, ending = self.start, self._instance.ending
        self._failures = 0
        if last is not None:
            self._failures = starts.failures(last, now - last.at, ending.text if ending else "", self._backoff)
        self._began, self._sits_out = now, None
        self._own_until = now + self._backoff.delay(self._failures)
        self._instance.later(0.3, self._wait)

    def _wait(self) -> None:
        if self._is_held():
            slow = self.hold is not None and self.hold.until is None
            self._instance.later(_SLOW_POLL if slow else _POLL, self._wait)
            return
        one = self._instance
        lives = self.start.lives if self.start else 0
        self.start = starts.Start(f"boot {one.boot}", one.pid, one.now, self._failures, lives + 1)
        one.execute()

    def _is_held(self) -> bool:
        """Tell whether there is still something to wait for, and put up or take down what belongs to that."""
        if self.hold and self.hold.by != holds.LAUNCHER:
            return self._sit_out(self.hold)
        if self._sits_out and self._sits_out.by != holds.LAUNCHER and self.hold is None:
            self._sits_out = None
        if self._instance.broken == "port_taken":
            self.hold = self.hold or self._own("configuration", None)
            return True
        if self._instance.now < self._own_until:
            self.hold = self.hold or self._own("backoff", self._own_until - self._instance.now)
            return True
        self.hold = None
        return False

    def _sit_out(self, hold: Hold) -> bool:
        clockwork = self._instance.clockwork
        if self._sits_out is not hold:
            self._sits_out, self._waited_since = hold, clockwork.now
        if hold.is_over(clockwork.wall, clockwork.now - self._waited_since):
            self.hold = None
            return self._instance.now < self._own_until
        return True

    def _own(self, reason: str, seconds: float | None) -> Hold:
        wall = self._instance.clockwork.wall
        return Hold(reason, "held", wall, None if seconds is None else wall + seconds, holds.LAUNCHER)

    def forgive(self) -> None:
        """An operator starts it: whatever held it back is gone."""
        self.hold, self._own_until, self._failures = None, 0.0, 0

    def forget(self) -> None:
        """The machine has booted."""
        self.hold = self.start = None
