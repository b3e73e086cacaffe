"""What becomes of a row's verdict: what is withheld, what it costs, and what is remembered of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfy_supervisor.health.policy.evidence import Deed, Hand, Reply, State, Verdict, Word
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.model import GpuSight

from .looks import DEAF, GIB, LIFE, Day, new_life, runs, seen, vitals

NOW = 5000.0
WORN = State(
    life=LIFE,
    seen=NOW - 1,
    began=NOW - 900,
    answered=NOW - 60,
    active=NOW - 60,
    log_moved=NOW - 60,
    failing=NOW - 60,
    shaky=NOW - 60,
    word=Word.SUSPECT,
    cause="api_unresponsive",
    ill=NOW - 60,
)
"""One whose API has been dead for a minute, and that does nothing."""
BODY = vitals()


def judged(state: dict[str, Any] | None = None, rules: Rules | None = None, **look: Any) -> tuple[State, Verdict]:
    return judge(replace(WORN, **(state or {})), seen(**{**DEAF, **look}), NOW, rules or Rules())


def test_one_that_is_deaf_is_ended_at_once_the_first_time_and_that_is_counted() -> None:
    state, verdict = judged()
    assert (verdict.word, verdict.deed, verdict.life) == (Word.RESTARTING, Deed.RESTART, LIFE)
    assert (verdict.hold, verdict.hold_seconds) == ("", None)
    assert (state.restarts, state.row, state.counted, state.ended, state.acted) == ((NOW,), 1, NOW, True, NOW)
    assert (state.word, state.since, state.cause) == (Word.RESTARTING, NOW, "api_unresponsive")


@pytest.mark.parametrize(("row", "seconds"), [(1, 10.0), (2, 20.0), (3, 40.0)])
def test_the_next_start_waits_the_longer_the_more_of_them_there_were(row: int, seconds: float) -> None:
    state, verdict = judged({"row": row})
    assert (verdict.hold, verdict.hold_seconds) == ("backoff", seconds)
    assert state.row == row + 1


def test_a_death_that_is_counted_already_is_not_counted_again() -> None:
    state, verdict = judged({"row": 2, "restarts": (NOW - 30,), "counted": NOW - 30})
    assert (verdict.hold, verdict.hold_seconds) == ("backoff", 10.0)
    assert (state.restarts, state.row, state.counted) == ((NOW - 30,), 2, NOW - 30)


@pytest.mark.parametrize(("deaths", "given_up"), [(4, False), (5, True), (6, True)])
def test_the_one_after_the_budget_is_given_up(deaths: int, given_up: bool) -> None:
    state, verdict = judged({"restarts": tuple(NOW - number for number in range(deaths, 0, -1))})
    assert verdict.deed is Deed.RESTART
    assert (verdict.word is Word.GAVE_UP, verdict.hold == "gave_up", state.given_up) == (given_up,) * 3
    assert verdict.hold_seconds == (900.0 if given_up else None)
    assert state.next_try == (NOW + 900 if given_up else None)
    assert len(state.restarts) == (deaths if given_up else deaths + 1)
    assert ("given up, but for one try every 900 s" in verdict.reason) is given_up


def test_a_large_budget_is_spent_as_a_small_one_is() -> None:
    deaths = tuple(NOW - number for number in range(300, 0, -1))
    assert judged({"restarts": deaths}, Rules(budget=300))[1].word is Word.GAVE_UP
    assert judged({"restarts": deaths}, Rules(budget=301))[1].word is Word.RESTARTING


def test_one_that_was_given_up_and_runs_before_its_next_try_is_left_alone() -> None:
    state, verdict = judged({"given_up": True, "next_try": NOW + 9})
    assert (verdict.word, verdict.deed, state.restarts) == (Word.GAVE_UP, Deed.ALERT, ())
    assert verdict.reason.endswith("it runs although it was given up: its hold is lost, and nothing more is done to it")
    assert judged({"given_up": True, "next_try": NOW})[1].deed is Deed.RESTART


def test_what_ends_a_life_that_a_gpus_fault_had_spared_holds_the_next() -> None:
    mismatch = GpuSight(fault="the driver was updated", cause="driver_mismatch")
    verdict = judged({"alerted": ("gpu-fault",)}, gpu=mismatch)[1]
    assert (verdict.word, verdict.deed, verdict.hold, verdict.hold_seconds) == (
        Word.GPU_FAULT,
        Deed.RESTART,
        "gpu_fault",
        None,
    )
    assert verdict.reason.endswith("; the driver was updated")


def test_maintenance_forbids_every_deed_and_says_so() -> None:
    state, verdict = judged(maintenance=True)
    assert (verdict.word, verdict.deed, verdict.hold) == (Word.SUSPECT, Deed.NOTHING, "")
    assert verdict.reason.endswith("(maintenance: nothing is done)")
    assert (state.restarts, state.ended, state.acted) == ((), False, None)


def test_in_company_nothing_is_done_but_said_once() -> None:
    state, verdict = judged(company=True)
    assert (verdict.word, verdict.deed) == (Word.BLIND, Deed.ALERT)
    assert verdict.reason.endswith("others fell ill alike at the same time, so nothing is done to any")
    assert (state.restarts, state.ended, state.alerted) == ((), False, ("deaf",))
    again = judge(state, seen(**DEAF, company=True), NOW + 1, Rules())[1]
    assert (again.word, again.deed) == (Word.BLIND, Deed.NOTHING)


def test_company_does_not_keep_from_what_its_own_process_shows() -> None:
    dead = judged(company=True, worker="dead", reply=Reply.GOOD, queue=1)[1]
    assert (dead.deed, dead.cause) == (Deed.RESTART, "worker_thread_died")


def test_one_that_was_to_end_and_is_well_again_is_no_more_awaited() -> None:
    ended: dict[str, Any] = {"ended": True, "counted": NOW - 30, "acted": NOW - 30, "restarts": (NOW - 30,)}
    state, verdict = judged(ended, reply=Reply.GOOD, queue=0, queue_seen=True, vitals=BODY)
    assert verdict.word in {Word.IDLE, Word.SUSPECT}
    well = judge(replace(state, shaky=None), seen(), NOW + 5, Rules())[0]
    assert (well.word, well.ended, well.counted) == (Word.IDLE, False, None)
    busy = judge(replace(state, shaky=None), seen(hand=Hand.BUSY), NOW + 5, Rules())[0]
    assert (busy.ended, busy.counted) == (True, NOW - 30)


def test_since_when_it_is_ill_is_remembered_for_one_cause_only() -> None:
    assert judged({"failing": NOW - 5})[0].ill == NOW - 60
    assert judged({"failing": NOW - 5, "cause": "stalled"})[0].ill == NOW
    assert judged({"failing": NOW - 5, "cause": "a cause"})[0].ill == NOW
    assert judged({"failing": NOW - 5, "ill": None})[0].ill == NOW
    well = judge(State(), seen(), NOW, Rules())[0]
    assert (well.ill, well.proven) == (None, False)
    assert not judged()[0].proven
    assert judged(worker="dead", reply=Reply.GOOD, queue=1)[0].proven


def test_a_word_holds_since_it_was_said_first() -> None:
    assert judged({"failing": NOW - 5, "since": 7.0})[0].since == 7.0
    assert judged({"failing": NOW - 5, "since": 7.0, "word": Word.IDLE})[0].since == NOW


@pytest.mark.parametrize(("queue", "words"), [(1, "1 job;"), (2, "2 jobs;"), (11, "11 jobs;")])
def test_jobs_are_counted_in_words(queue: int, words: str) -> None:
    day = Day().working()
    assert day.look(**runs(waiting=queue - 1)).reason.startswith(words)


@pytest.mark.parametrize(("errors", "ends"), [(2, False), (3, True), (4, True)])
def test_three_cuda_errors_in_a_row_or_more_end_a_life(errors: int, ends: bool) -> None:
    state = replace(WORN, cuda_errors=errors, failing=None, shaky=None, answered=NOW)
    verdict = judge(state, seen(), NOW, Rules())[1]
    assert (verdict.deed is Deed.RESTART) is ends


@pytest.mark.parametrize(
    ("idle", "age", "memory", "recycled"),
    [
        (5, 600, 3, True),
        (4.9, 600, 3, False),
        (5, 599, 3, False),
        (5, 600, 2, False),
        (9, 900, 9, True),
    ],
)
def test_an_idle_instance_is_recycled_from_these_figures_on(
    idle: float, age: float, memory: float, recycled: bool
) -> None:
    state = replace(
        WORN, idle=NOW - idle, began=NOW - age, failing=None, shaky=None, answered=NOW - 1, word=Word.IDLE, ill=None
    )
    look = seen(vitals=vitals(memory=int(memory * GIB)))
    after, verdict = judge(state, look, NOW, Rules(memory_limit=2 * GIB))
    assert (verdict.deed is Deed.RESTART) is recycled
    assert after.restarts == ()


def test_the_same_from_day_to_day_whatever_was_before() -> None:
    day = Day().working()
    day.run(60, **DEAF)
    assert day.done() == ["restart"]
    day.look(**new_life())
    assert (day.state.ended, day.state.counted, day.state.unexplained) == (False, None, None)
    assert len(day.state.restarts) == 1
