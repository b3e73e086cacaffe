"""What is never done, whatever the decision table says: a table that is wrong on purpose, or a verdict by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfy_supervisor.health.policy import guard
from comfy_supervisor.health.policy import judge as policy
from comfy_supervisor.health.policy.case import Case
from comfy_supervisor.health.policy.evidence import RECYCLED, Deed, Hand, Life, Patience, State, Verdict, Word
from comfy_supervisor.health.policy.row import Row
from comfy_supervisor.health.policy.rules import Rules

from .looks import DEAF, LIFE, REFUSED, UNASKED, WAITS, Day, runs, seen, vitals

NOW = 1000.0
RULES = Rules(stall_hard_limit=900.0)
WORN = State(
    word=Word.SUSPECT,
    life=LIFE,
    began=NOW - 700,
    answered=NOW,
    active=NOW - 200,
    progress=NOW - 200,
    queue=1,
    running="job-1",
)
"""An instance whose job has stood still for 200 s."""
RESTART = Verdict(Word.RESTARTING, Deed.RESTART, "stalled", "it stalls", LIFE)
INTERRUPT = Verdict(Word.STALLED, Deed.INTERRUPT, "stalled", "it stalls", LIFE, prompt_id="job-1")
DEAD_API = replace(RESTART, cause="api_unresponsive")
POISONED = replace(RESTART, cause="cuda_poisoned")


def case(state: dict[str, Any] | None = None, **look: Any) -> Case:
    return Case(replace(WORN, **(state or {})), seen(**{**runs(), **look}), NOW, RULES)


STARTING = {"answered": None, "began": NOW - 599}
ENDED = {"ended": True, "acted": NOW - 9}
SPENT = {"restarts": (1.0, 2.0, 3.0, 4.0, 5.0)}
MOVED = {"progress": NOW - 179}


@pytest.mark.parametrize("verdict", [RESTART, INTERRUPT, DEAD_API, POISONED], ids=["stall", "ask", "api", "cuda"])
def test_what_is_due_breaks_no_promise(verdict: Verdict) -> None:
    assert guard.breach(case(), verdict) == ""


@pytest.mark.parametrize(
    ("state", "look", "verdict", "promise"),
    [
        ({}, {"hand": Hand.BUSY}, RESTART, "a restart is on its way already"),
        ({}, {"hand": Hand.STUCK}, INTERRUPT, "a restart is on its way already"),
        (ENDED, {}, POISONED, "a restart is on its way already"),
        (STARTING, REFUSED, replace(RESTART, deed=Deed.KILL), "it is starting, within its grace"),
        ({}, {"life": None}, POISONED, "that life is over"),
        ({}, {"life": replace(LIFE, pid=101)}, POISONED, "that life is over"),
        ({}, {"life": replace(LIFE, started=51.0)}, INTERRUPT, "that life is over"),
        ({}, {"life": replace(LIFE, image=8)}, RESTART, "that life is over"),
        ({}, WAITS, POISONED, "the launcher has not become ComfyUI yet"),
        (SPENT, {}, RESTART, "the budget is spent"),
        ({"restarts": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)}, {}, RESTART, "the budget is spent"),
        (SPENT, {}, replace(RESTART, hold="backoff"), "the budget is spent"),
        ({}, {"supervised": "STOPPED"}, RESTART, "supervisord stopped it, or does not answer"),
        ({}, {"supervised": "STOPPING"}, INTERRUPT, "supervisord stopped it, or does not answer"),
        ({}, {"supervised": ""}, POISONED, "supervisord stopped it, or does not answer"),
        ({}, {"vitals": vitals("t")}, POISONED, "a debugger holds it"),
        ({}, {"vitals": vitals("t")}, INTERRUPT, "a debugger holds it"),
        ({}, UNASKED, RESTART, "we could not look"),
        ({}, UNASKED, DEAD_API, "we could not look"),
        ({}, UNASKED, INTERRUPT, "we could not look"),
        ({}, UNASKED, replace(INTERRUPT, cause="unknown"), "we could not look"),
        ({}, {**UNASKED, "vitals": None}, POISONED, "we could not look"),
        (MOVED, {}, RESTART, "its job moves, as far as is known"),
        (MOVED, {}, INTERRUPT, "its job moves, as far as is known"),
        ({}, {"queue_seen": False}, RESTART, "its job moves, as far as is known"),
        ({}, {"queue_seen": False}, INTERRUPT, "its job moves, as far as is known"),
        ({"running": ""}, {}, INTERRUPT, "its job moves, as far as is known"),
        ({}, DEAF, INTERRUPT, "its job moves, as far as is known"),
        ({"progress": NOW - 3599}, runs(patience=Patience.REMOTE), INTERRUPT, ""),  # beyond the hard limit
        ({"progress": NOW - 899}, runs(patience=Patience.REMOTE), INTERRUPT, "its job moves, as far as is known"),
    ],
)
def test_each_promise_has_a_verdict_that_would_break_it(
    state: dict[str, Any], look: dict[str, Any], verdict: Verdict, promise: str
) -> None:
    assert guard.breach(case(state, **look), verdict) == promise


@pytest.mark.parametrize(
    ("state", "look", "verdict"),
    [
        ({**ENDED, "acted": NOW - 10}, {}, POISONED),
        ({**STARTING, "began": NOW - 600}, REFUSED, RESTART),
        (STARTING, REFUSED, replace(INTERRUPT, deed=Deed.HOLD)),
        (SPENT, {}, replace(RESTART, hold="gave_up")),
        (SPENT, {}, replace(RESTART, cause=RECYCLED)),
        (SPENT, {}, INTERRUPT),
        ({"restarts": (1.0, 2.0, 3.0, 4.0, NOW), "counted": NOW}, {}, RESTART),
        ({}, {"life": Life("boot", 100, 50.0, 0)}, RESTART),
        ({}, {"supervised": "STARTING"}, RESTART),
        ({}, UNASKED, POISONED),
        (MOVED, {}, POISONED),
        ({}, DEAF, DEAD_API),
    ],
)
def test_what_looks_like_a_breach_and_is_none(state: dict[str, Any], look: dict[str, Any], verdict: Verdict) -> None:
    assert guard.breach(case(state, **look), verdict) == ""


def _table(monkeypatch: pytest.MonkeyPatch, deed: Deed, **more: Any) -> None:
    """Have the table do one thing always."""
    row = Row("wrong", when=lambda _: True, word=Word.RESTARTING, cause="stalled", reason="it looks so", deed=deed)
    monkeypatch.setattr(policy, "TABLE", (replace(row, **more),))


@pytest.mark.parametrize("deed", [Deed.RESTART, Deed.KILL, Deed.INTERRUPT])
def test_a_table_that_is_wrong_is_said_once_and_not_obeyed(monkeypatch: pytest.MonkeyPatch, deed: Deed) -> None:
    _table(monkeypatch, deed)
    day = Day()
    day.run(60, **runs())
    assert day.done() == ["alert"]
    assert day.deeds[0][1].reason == "not done, its job moves, as far as is known: it looks so"
    assert day.word() is Word.SUSPECT
    state = day.state
    assert (state.restarts, state.ended, state.acted, state.interrupted) == ((), False, None, None)


def test_nothing_else_of_a_verdict_that_is_refused_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    _table(monkeypatch, Deed.RESTART, hold="gave_up", hold_seconds=900.0)
    day = Day()
    verdict = day.look(supervised="STOPPING")
    assert (verdict.deed, verdict.hold, verdict.hold_seconds, verdict.prompt_id) == (Deed.ALERT, "", None, "")
    assert not day.state.given_up


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the table see nothing but work."""
    _table(monkeypatch, Deed.NOTHING, word=Word.BUSY, cause="healthy")


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize(("patience", "bound"), [(Patience.NORMAL, 210), (Patience.REMOTE, 3630)])
def test_a_stall_that_the_table_overlooks_is_said_once(patience: Patience, bound: float) -> None:
    day = Day()
    day.run(2 * bound, **runs(patience=patience))
    assert day.done() == ["alert"]
    assert bound <= day.first - NOW <= bound + 5
    verdict = day.deeds[0][1]
    assert (verdict.word, verdict.cause) == (Word.SUSPECT, "stalled")
    assert verdict.reason == f"not done, what is due after a stall of {bound} s: it looks so"


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize(
    "look",
    [
        runs(patience=Patience.ENDLESS),
        {**runs(), "maintenance": True},
        {**runs(), "hand": Hand.BUSY},
        {**runs(), "supervised": "STOPPING"},
        {"queue": 3, "queue_seen": True},
        {**runs(), "queue_seen": False},
        DEAF,
    ],
    ids=["waits for a person", "maintenance", "hand", "stopping", "paused", "unseen", "deaf"],
)
def test_what_nothing_is_due_for_is_no_stall(look: dict[str, Any]) -> None:
    day = Day()
    day.run(600, **look)
    assert day.done() == []


@pytest.mark.usefixtures("blind")
def test_work_that_moves_is_no_stall() -> None:
    day = Day()
    day.run(600, cores=1.0, **runs())
    day.run(600, each=lambda at: {"progress": NOW + 600 + at // 60 * 60}, **runs())
    assert day.done() == []


LONG = {"active": NOW - 211, "progress": NOW - 211}
BUSY = Verdict(Word.BUSY)


@pytest.mark.parametrize(
    ("state", "look", "verdict", "told"),
    [
        (LONG, {}, BUSY, "what is due after a stall of 211 s"),
        (LONG, {}, replace(BUSY, deed=Deed.ALERT), ""),
        (LONG, {"queue_seen": False}, BUSY, ""),
        (LONG, {"vitals": vitals(listens=False)}, BUSY, ""),
        ({**LONG, "acted": NOW - 211}, {}, BUSY, ""),
        ({**LONG, "acted": NOW - 212}, {}, BUSY, "what is due after a stall of 211 s"),
        ({**LONG, "word": Word.BUSY, "healthy": NOW - 29}, {}, BUSY, ""),
        ({**LONG, "word": Word.BUSY, "healthy": NOW - 30}, {}, BUSY, "what is due after a stall of 211 s"),
        ({**LONG, "word": Word.GAVE_UP}, {}, BUSY, ""),
    ],
    ids=[
        "overlooked",
        "said",
        "unseen",
        "somebody else",
        "acted upon",
        "acted upon before",
        "seen just now",
        "seen for long",
        "said before",
    ],
)
def test_only_a_stall_that_is_long_overdue_counts_as_overlooked(
    state: dict[str, Any], look: dict[str, Any], verdict: Verdict, told: str
) -> None:
    assert guard.overlooked(case(state, **look), verdict) == told


def test_a_stall_that_was_acted_upon_is_not_overlooked() -> None:
    """Its restart has no effect, again and again, and each try is one that was made."""
    day = Day()
    for _ in range(100):
        day.run(15, **runs())
        day.now += 1
    assert set(day.done()) == {"interrupt", "restart"}
