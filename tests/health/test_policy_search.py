"""Every state that can be reached in DEPTH looks from nothing, and the promises in each of them.

The clocks are few seconds long, so that every row's time can be up within the depth; states are the same whose
clocks, seen from now, are.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import count, product
from typing import Any

import pytest

from comfy_supervisor.health.policy.evidence import (
    ENDS,
    RECYCLED,
    Deed,
    Failure,
    Finished,
    Hand,
    Job,
    Life,
    Observation,
    Reply,
    State,
    Verdict,
    Vitals,
)
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.model import GpuSight

DEPTH = int(os.environ.get("POLICY_DEPTH") or 4)
"""Depth 5 is 2.8 million looks; they take minutes."""
RULES = Rules(
    probe_every=1,
    suspect_every=1,
    start_grace=4,
    start_quiet=2,
    quiet=2,
    patience=6,
    frozen=2,
    stall_after=4,
    stall_alert_after=6,
    interrupt_wait=1,
    paused=3,
    active_window=1,
    budget=1,
    window=30,
    first_delay=2,
    retry_after=8,
    healthy_after=6,
    recycle_after=20,
    idle_before_recycle=1,
)
STEPS = (2.0, 12.0, 60.0)
"""Seconds to the next look: a usual one, one after a while, one after too long a while."""
LONGEST = 70.0
"""Ages beyond it are all alike."""
_QUIET = Vitals("S", 1.0, 0, 0, 0)
_ANSWERS: dict[str, Any] = {"reply": Reply.GOOD, "queue": 0, "queue_seen": True, "vitals": _QUIET}
_WORKS: dict[str, Any] = {**_ANSWERS, "queue": 2, "running": Job("job")}
_FAILS: dict[str, Any] = {"reply": Reply.TIMEOUT, "vitals": _QUIET}
LOOKS: dict[str, dict[str, Any]] = {
    "idle": _ANSWERS,
    "stands still": _WORKS,
    "poisoned": {**_ANSWERS, "finished": Finished("job", Failure.STICKY, "CUDA error")},
    "deaf": _FAILS,
    "deaf at work": {**_FAILS, "gpu": GpuSight(percent=90)},
    "stopped by a signal": {**_FAILS, "vitals": Vitals("T", 1.0, 0, 0, 0)},
    "unasked": {"vitals": _QUIET},
    "gpu lost": {**_FAILS, "gpu": GpuSight(fault="Xid 79")},
    "hand at work": {**_FAILS, "hand": Hand.BUSY},
    "launcher": {"waits": True, "hold": "backoff"},
    "gone": {"life": None, "supervised": "BACKOFF"},
    "stopping": {**_FAILS, "supervised": "STOPPING"},
    "stopped": {"life": None, "supervised": "STOPPED"},
}
_NEW = frozenset({"idle", "deaf", "launcher"})
"""What a new life may begin with."""
_CLOCKS = tuple(
    field
    for field in State.__dataclass_fields__
    if field
    in ("began", "answered", "failing", "active", "log_moved", "frozen", "progress", "paused", "idle", "interrupted")
    or field in ("healthy", "acted", "handled", "gone", "shaky", "next_try", "unexplained", "ill")
)
_ASIDE = frozenset({"reason", "seen", "samples", "life", "since", "lasted", *_CLOCKS, "restarts", "good"})


def _key(state: State, now: float) -> tuple[object, ...]:
    """Return what tells a state from others, wherever its clock stands."""
    values = vars(state)
    ages = tuple(None if values[clock] is None else min(now - values[clock], LONGEST) for clock in _CLOCKS)
    deaths = tuple(min(now - at, LONGEST) for at in state.restarts)
    rest = tuple(value for name, value in values.items() if name not in _ASIDE)
    return (state.life is None, min(state.good, 3), ages, deaths, rest)


def _nexts(state: State, now: float) -> list[tuple[str, Observation, float]]:
    """Return each look that may come next, and when."""
    found = []
    born = state.life.started if state.life else 1.0
    for (name, look), step in product(LOOKS.items(), STEPS):
        for new in (False, True) if name in _NEW else (False,):
            if name == "launcher" and state.life is not None and not state.waits and not new:
                continue  # nothing becomes the launcher again
            life = Life("boot", 1, born + new, 1)  # the same pid again
            found.append((name, replace(Observation("RUNNING", life, device="cuda"), **look), now + step))
    return found


def _check(before: State, seen: Observation, now: float, state: State, verdict: Verdict) -> None:
    """Assert the promises, numbered as in world, by other means than guard does."""
    assert verdict.reason
    assert not verdict.reason.startswith("not done"), verdict
    if verdict.deed in (Deed.NOTHING, Deed.ALERT):
        return
    assert seen.life is not None, verdict  # 3
    assert verdict.life == seen.life, verdict  # 3
    assert seen.supervised == "RUNNING", verdict  # 5
    assert seen.reply is not Reply.UNASKED or verdict.deed is Deed.HOLD or state.poisoned, verdict  # 8
    if verdict.deed in ENDS:
        assert seen.hand is Hand.IDLE, verdict  # 1
        assert not (before.ended and before.life == seen.life and now - (before.acted or 0) < 10), verdict  # 1
        assert state.answered is not None or now - state.began >= RULES.start_grace, verdict  # 2
        if verdict.hold in ("", "backoff") and verdict.cause != RECYCLED:
            assert len(state.restarts) <= RULES.budget, verdict  # 4
    if verdict.deed is Deed.INTERRUPT:
        assert now - state.progress >= RULES.stall_after, verdict  # 7


@pytest.mark.search
def test_every_state_within_reach() -> None:
    counter = count()
    frontier = [(State(), 1000.0)]
    known = {_key(*frontier[0])}
    words = set()
    for _ in range(DEPTH):
        following = []
        for before, then in frontier:
            for _name, seen, now in _nexts(before, then):
                state, verdict = judge(before, seen, now, RULES)
                next(counter)
                _check(before, seen, now, state, verdict)
                words.add((verdict.word, verdict.deed))
                key = _key(state, now)
                if key not in known:
                    known.add(key)
                    following.append((state, now))
        frontier = following
    assert len(words) > 15, words
