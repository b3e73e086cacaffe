"""What is promised, checked against the truth at each look: the eight of health-semantics, and that nobody stays ill.

Those of the jobs are checked where the jobs are: each start in tests.jobs.world, and each end when all is quiet.
"""

from __future__ import annotations

from collections.abc import Callable

from comfy_supervisor.health.policy.evidence import ENDS, Deed, Hand, Life, Observation, Reply, State, Verdict, Word
from comfy_supervisor.health.policy.rules import Rules
from tests.health.world import WINDOW_OF_CPU

from .faults import AILS
from .instance import Instance, Place

_ACTS = ENDS | {Deed.INTERRUPT}
_RESIGNED = frozenset({Word.GAVE_UP, Word.GPU_FAULT, Word.STOPPED})
"""What needs a person."""
_FOR_A_PERSON = frozenset({"spin", "gpu_lost"})
"""What is said, and not ended: no hard limit is set."""
_DEED = 60.0
"""Seconds from the first word to the end of a life: an interrupt, the black box, SIGINT, SIGKILL."""
_START = 760.0
"""Seconds in which a start that hangs is acted upon: its grace, the quiet after it, and a little."""


class BrokenPromiseError(AssertionError):
    """A promise was broken."""


class Promises:
    """Keeps what has to be known to tell whether they are kept, of one instance."""

    def __init__(self, instance: Instance, rules: Rules) -> None:
        """Know nothing yet."""
        self._instance, self._rules = instance, rules
        self._last: tuple[float, Life | None] = (-1e9, None)
        self._ends: dict[Life, float] = {}
        self._given_up = (-1e9, 0.0)
        self.hindered = -1e9
        """When something last kept us from looking or acting."""
        self._well_at = 0.0
        """When it was last not ill, or somebody else's fault that it still is."""

    def check(self, seen: Observation, verdict: Verdict, state: State) -> None:
        """Raise BrokenPromiseError if the verdict breaks one."""
        broken = next((told for told, is_broken in self._promises(seen, verdict, state) if is_broken()), "")
        if broken:
            raise BrokenPromiseError(f"{self._instance.name} at {self._instance.now:.1f} s: {broken}: {verdict.told}")
        if verdict.deed in ENDS:
            self._note(verdict)

    def pardon(self) -> None:
        """Forget what was counted: an operator's word."""
        self._ends.clear()
        self._given_up = (-1e9, 0.0)

    def _promises(
        self, seen: Observation, verdict: Verdict, state: State
    ) -> tuple[tuple[str, Callable[[], bool]], ...]:
        acts, ends = verdict.deed in _ACTS, verdict.deed in ENDS
        one, now = self._instance, self._instance.now
        in_start = one.place is Place.STARTING and now - one.since < self._rules.start_grace
        return (
            ("the guard had to step in", lambda: verdict.reason.startswith("not done")),
            ("1: a restart is in flight", lambda: ends and seen.hand is not Hand.IDLE),
            ("1: asked for twice", lambda: ends and self._last[1] == verdict.life and now - self._last[0] < 10),
            ("2: it is starting, within its grace", lambda: ends and in_start),
            ("3: that life is over", lambda: acts and verdict.life != one.life),
            ("4: the budget is exceeded", lambda: ends and self._exceeds(verdict)),
            ("5: an operator stopped it", lambda: acts and (one.planned or one.place is Place.STOPPED)),
            ("6: nobody acts, and nothing is said", lambda: self._is_late(state)),
            ("7: its job moves", lambda: acts and verdict.cause == "stalled" and self._moves()),
            ("8: our own trouble", lambda: acts and (seen.reply is Reply.UNASKED or not seen.supervised)),
            ("it stays ill", lambda: self._stays_ill(seen, state)),
        )

    def _note(self, verdict: Verdict) -> None:
        now, life = self._instance.now, verdict.life
        assert life
        self._last = (now, life)
        if verdict.hold == "gave_up":
            self._given_up = (now, life.started)
        elif verdict.hold in ("", "backoff") and life not in self._ends:
            self._ends[life] = now

    def _exceeds(self, verdict: Verdict) -> bool:
        now, life = self._instance.now, verdict.life
        if life is None:
            return False
        if verdict.hold == "gave_up":
            at, started = self._given_up
            return now - at < self._rules.retry_after and started != life.started
        if verdict.hold not in ("", "backoff"):
            return False
        self._ends = {each: at for each, at in self._ends.items() if at > now - self._rules.window}
        return len(self._ends | {life: now}) > self._rules.budget

    def _moves(self) -> bool:
        """Tell whether the running job has made progress lately."""
        one = self._instance
        if one.place is not Place.UP:
            return False
        ill = one.ail is not None and not one.ail.works and one.onset is not None
        still = one.now - (one.moved if not ill else min(one.moved, one.onset[1] if one.onset else one.now))
        fault = one.queue.running.fault if one.queue.running else None
        shows = "" if fault is None else fault.shows
        return not ill and (shows != "nothing" or still < self._rules.stall_after - WINDOW_OF_CPU)

    def _is_late(self, state: State) -> bool:
        """Tell whether nobody has noticed what is wrong, within its time."""
        one = self._instance
        if one.onset is None or not one.unnoticed or state.word in _RESIGNED:
            return False
        name, at = one.onset
        bound = _START if name == "hangs" or state.answered is None else AILS[name].bound if name in AILS else None
        if name == "gpu_lost" and one.place is not Place.UP:
            return False
        return bound is not None and one.now - max(at, self.hindered) > bound

    def _stays_ill(self, seen: Observation, state: State) -> bool:
        """Tell whether it is still ill long after it should have been acted upon, and nobody else is waited for."""
        one, ail = self._instance, self._instance.ail
        waits = state.word in _RESIGNED or seen.hand is not Hand.IDLE or not seen.supervised
        ill = one.place is Place.UP and ail is not None and not ail.honest and ail.name not in _FOR_A_PERSON
        if not ill or waits or ail is None:
            self._well_at = one.now
            return False
        bound = _START if state.answered is None else (ail.bound or 0.0) + _DEED
        return one.now - max(self._well_at, self.hindered) > bound
