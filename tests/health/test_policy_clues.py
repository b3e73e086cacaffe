"""What one look tells of the process, the API and the work, at the edge of what counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfy_supervisor.health.policy import clues
from comfy_supervisor.health.policy.clues import foreign, tells, work_in
from comfy_supervisor.health.policy.evidence import Failure, Finished, Job, Observation, Reply, Sample, State, Word
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.model import GpuSight

from .looks import DEAF, MIB, REFUSED, UNASKED, seen, vitals

NOW = 1000.0
BEFORE = Sample(NOW - 10, 1.0, 0, 0)
"""The figures of ten seconds ago."""


def after(look: Observation, rules: dict[str, Any] | None = None, **state: Any) -> State:
    """Return what is remembered after a look."""
    kept = replace(State(), **state)
    work_in(kept, look, NOW, Rules(**(rules or {})))
    return kept


def activity(first: Sample = BEFORE, rules: dict[str, Any] | None = None, **body: Any) -> str:
    """Return what the process is found to do since a sample."""
    return after(seen(vitals=vitals(**body)), rules, samples=(first,), activity="").activity


@pytest.mark.parametrize(
    ("body", "does"),
    [
        ({"cpu": 2.999}, ""),
        ({"cpu": 3.001}, "uses 0.20 of a CPU"),
        ({"cpu": 11.0}, "uses 1.00 of a CPU"),
        ({"waited": 4.9}, ""),
        ({"waited": 5.0}, "has to wait for a CPU, and uses 0.00 of one"),
        ({"waited": 4.5, "cpu": 1.5}, "has to wait for a CPU, and uses 0.05 of one"),
        ({"io": 10 * MIB - 1}, ""),
        ({"io": 10 * MIB}, "reads and writes 1.0 MiB/s"),
        ({"io": 25 * MIB}, "reads and writes 2.5 MiB/s"),
        ({"faults": 1}, "reads pages from a disk"),
        ({"waits_for_disk": True}, "waits for a disk"),
    ],
)
def test_a_process_is_active_from_these_figures_on(body: dict[str, Any], does: str) -> None:
    assert activity(**body) == does


def test_what_counts_of_the_cpu_is_exactly_the_rules_share() -> None:
    assert activity(rules={"active_cores": 0.25}, cpu=3.5) == "uses 0.25 of a CPU"


def test_waiting_is_counted_from_the_first_sample_on() -> None:
    assert activity(replace(BEFORE, waited=3.0), waited=7.9) == ""
    assert activity(replace(BEFORE, waited=3.0), waited=8.0) != ""
    assert activity(replace(BEFORE, io=5 * MIB), io=14 * MIB) == ""
    assert activity(replace(BEFORE, faults=2), faults=2) == ""


@pytest.mark.parametrize(
    ("ago", "window", "does"),
    [(0.9, 10.0, False), (1.0, 10.0, True), (0.4, 1.0, False), (0.5, 1.0, True), (0.4, 0.5, True), (1.0, 1.5, True)],
)
def test_samples_tell_a_pace_once_they_are_a_second_or_half_a_window_apart(
    ago: float, window: float, does: bool
) -> None:
    first = Sample(NOW - ago, 0.0, 0, 0)
    assert bool(activity(first, {"active_window": window}, cpu=9.0)) is does


@pytest.mark.parametrize("body", [{"cpu": 0.5}, {"io": -1}])
def test_counters_that_fall_tell_of_a_child_that_ended_and_are_counted_anew(body: dict[str, Any]) -> None:
    kept = after(seen(vitals=vitals(**body)), samples=(BEFORE,))
    assert kept.activity == "has ended a child"
    assert [sample.at for sample in kept.samples] == [NOW]
    assert kept.active == NOW


def test_counters_fall_below_those_of_the_last_look() -> None:
    """Before that, they may have been as low for long."""
    last = replace(BEFORE, at=NOW - 5, cpu=5.0, io=5)
    for cpu, io in ((3.0, 5), (5.0, 3)):
        assert after(seen(vitals=vitals(cpu=cpu, io=io)), samples=(BEFORE, last)).activity == "has ended a child"


def test_a_use_of_the_gpu_is_activity_and_none_of_it_is_not() -> None:
    look = seen(vitals=vitals(), gpu=GpuSight(percent=3))
    assert after(look, samples=(BEFORE,)).activity == "uses 3 % of its GPU"
    assert after(replace(look, gpu=GpuSight(percent=0)), samples=(BEFORE,)).activity == ""
    assert after(replace(look, gpu=GpuSight(percent=None)), samples=(BEFORE,)).activity == ""


def test_of_the_samples_the_last_one_before_the_window_is_kept() -> None:
    older = tuple(Sample(NOW - ago, 1.0, 0, 0) for ago in (30, 12, 10, 5))
    assert [sample.at for sample in after(seen(), samples=older).samples] == [NOW - 10, NOW - 5, NOW]
    assert [sample.at for sample in after(seen(), samples=older[:2]).samples] == [NOW - 12, NOW]


def test_one_that_does_nothing_keeps_the_time_and_the_kind_of_its_last_activity() -> None:
    kept = after(seen(), samples=(BEFORE,), active=NOW - 50, activity="uses 1.00 of a CPU")
    assert (kept.active, kept.activity) == (NOW - 50, "uses 1.00 of a CPU")


def test_one_that_can_not_be_looked_at_counts_as_active_and_is_not_known_to_be_stopped() -> None:
    kept = after(seen(vitals=None), samples=(BEFORE,), active=NOW - 50, frozen=NOW - 9)
    assert (kept.active, kept.activity, kept.samples, kept.frozen) == (NOW, "can't be looked at", (), None)


def test_a_stop_by_a_signal_is_counted_from_its_first_sight_until_its_end() -> None:
    assert after(seen(vitals=vitals("T"))).frozen == NOW
    assert after(seen(vitals=vitals("T")), frozen=NOW - 5).frozen == NOW - 5
    assert after(seen(vitals=vitals("S")), frozen=NOW - 5).frozen is None
    assert after(seen(vitals=vitals("t")), frozen=NOW - 5).frozen is None


@pytest.mark.parametrize(("log", "moved"), [(7, NOW - 50), (8, NOW), (6, NOW)])
def test_a_log_has_moved_where_anything_of_it_differs(log: int, moved: float) -> None:
    kept = after(seen(log=log), log=7, log_moved=NOW - 50)
    assert (kept.log, kept.log_moved) == (log, moved)


@pytest.mark.parametrize(
    ("listens", "reply", "is_foreign"),
    [
        (False, Reply.GOOD, True),
        (False, Reply.STRANGE, True),
        (False, Reply.REFUSED, False),
        (False, Reply.TIMEOUT, False),
        (False, Reply.UNASKED, False),
        (None, Reply.GOOD, False),
        (True, Reply.GOOD, False),
    ],
)
def test_who_answers_where_the_process_does_not_listen_is_somebody_else(
    listens: bool | None, reply: Reply, is_foreign: bool
) -> None:
    look = seen(vitals=vitals(listens=listens), reply=reply)
    assert foreign(look) is is_foreign
    assert tells(look) is (not is_foreign and reply is not Reply.UNASKED)
    assert not foreign(replace(look, vitals=None))


def test_nothing_that_a_debugger_holds_or_nobody_asked_is_held_against_it() -> None:
    assert tells(seen(**DEAF))
    assert not tells(seen(vitals=vitals("t"), **DEAF))
    assert tells(seen(vitals=None, **DEAF))
    before: dict[str, Any] = {"failing": NOW - 9, "good": 2, "queue": 3, "answered": NOW - 20}
    kept = after(seen(**UNASKED), **before)
    assert {name: getattr(kept, name) for name in before} == before
    assert kept.reply is Reply.UNASKED


def test_a_good_answer_ends_a_failure() -> None:
    kept = after(seen(), failing=NOW - 9, good=0, answered=NOW - 60, shaky=NOW - 9)
    assert (kept.answered, kept.failing, kept.good, kept.reply) == (NOW, None, 1, Reply.GOOD)


def test_three_good_answers_in_a_row_end_the_doubts_and_the_first_one_of_a_life_does() -> None:
    assert clues.RELIABLE == 3
    assert after(seen(), good=1, answered=NOW - 5, shaky=NOW - 9).shaky == NOW - 9
    assert after(seen(), good=2, answered=NOW - 5, shaky=NOW - 9).shaky is None
    assert after(seen(), good=3, answered=NOW - 5, shaky=NOW - 9).shaky is None
    assert after(seen(), good=0, answered=None, shaky=NOW - 9).shaky is None


@pytest.mark.parametrize("look", [DEAF, REFUSED])
def test_a_failure_is_counted_from_the_first_one_on(look: dict[str, Any]) -> None:
    first = after(seen(**look), good=7, answered=NOW - 5)
    assert (first.failing, first.shaky, first.good, first.answered) == (NOW, NOW, 0, NOW - 5)
    second = after(seen(**look), failing=NOW - 9, shaky=NOW - 20)
    assert (second.failing, second.shaky) == (NOW - 9, NOW - 20)


def test_a_strange_answer_is_no_failure_and_no_good_one() -> None:
    kept = after(seen(**{**DEAF, "reply": Reply.STRANGE}), failing=NOW - 9, good=5, shaky=NOW - 9, answered=NOW - 30)
    assert (kept.failing, kept.good, kept.shaky, kept.answered) == (None, 0, NOW - 9, NOW - 30)


WORKS: dict[str, Any] = {"queue": 2, "running": "a", "progress": NOW - 50, "interrupted": NOW - 5}


def job(prompt_id: str = "a", queue: int | None = 2, **more: Any) -> Observation:
    running = Job(prompt_id) if prompt_id else None
    return seen(**{"queue": queue, "queue_seen": True, "running": running, **more})


@pytest.mark.parametrize(
    ("look", "state", "moved"),
    [
        (job("a"), {}, False),
        (job("b"), {}, True),
        (job("b"), {"over": True}, False),
        (job("a"), {"queue": 0}, True),
        (job("a", 1), {}, False),
        (job("a", 3), {}, False),
        (job("b", queue_seen=False), {}, False),
        (job("", 0, queue_seen=False), {}, True),
        (job("a", progress=7.0), {"extension_progress": 6.9}, True),
        (job("a", progress=7.0), {"extension_progress": 7.0}, False),
        (job("a", progress=6.0), {"extension_progress": 7.0}, False),
        (job("b", None), {}, False),
    ],
)
def test_work_moves_with_a_first_job_another_one_or_the_extensions_word(
    look: Observation, state: dict[str, Any], moved: bool
) -> None:
    kept = after(look, **{**WORKS, **state})
    assert (kept.progress, kept.interrupted) == ((NOW, None) if moved else (NOW - 50, NOW - 5))


def test_the_extensions_word_is_kept_as_the_latest() -> None:
    assert after(job("a", progress=7.0), **WORKS, extension_progress=6.0).extension_progress == 7.0
    assert after(job("b", progress=6.0), **WORKS, extension_progress=7.0).extension_progress == 7.0


def test_what_runs_is_remembered_where_the_queue_was_seen() -> None:
    assert after(job("b"), **WORKS).running == "b"
    assert after(job("b", queue_seen=False), **WORKS).running == "a"
    assert after(job("", 0, queue_seen=False), **WORKS).running == ""
    assert after(job("b", None), **WORKS).queue == 2
    assert after(job("b", 5), **WORKS).queue == 5


def test_that_a_job_ended_is_remembered_until_it_is_seen_which_one_runs() -> None:
    assert after(job("a"), **WORKS, over=True).over
    assert not after(job("b"), **WORKS, over=True).over
    assert not after(job("a"), **WORKS, over=False).over


@pytest.mark.parametrize(
    ("look", "waits"),
    [
        (job("", 2), True),
        (job("", 1), True),
        (job("a", 2), False),
        (job("", 0), False),
        (job("", 2, held="paused"), False),
    ],
)
def test_jobs_wait_where_none_runs_and_nobody_holds_them(look: Observation, waits: bool) -> None:
    assert after(look, **WORKS).paused == (NOW if waits else None)
    assert after(look, **WORKS, paused=NOW - 9).paused == (NOW - 9 if waits else None)


def test_it_is_idle_since_there_is_no_job() -> None:
    assert after(job("", 0), **WORKS).idle == NOW
    assert after(job("", 0), **WORKS, idle=NOW - 9).idle == NOW - 9
    assert after(job("a", 1), **WORKS, idle=NOW - 9).idle is None


OOM = Finished("b", Failure.OTHER, "out of memory")


def test_a_job_that_ended_is_progress_and_is_counted_once() -> None:
    kept = after(job("a", finished=Finished("b")), **WORKS, finished="a")
    assert (kept.finished, kept.over, kept.progress, kept.interrupted) == ("b", True, NOW, None)
    again = after(job("a", finished=Finished("b")), **WORKS, finished="b", cuda_errors=2)
    assert (again.progress, again.over, again.cuda_errors) == (NOW - 50, False, 2)


@pytest.mark.parametrize(("failure", "errors"), [(Failure.CUDA, 3), (Failure.NONE, 0), (Failure.OTHER, 0)])
def test_cuda_errors_are_counted_in_a_row(failure: Failure, errors: int) -> None:
    assert after(job(finished=Finished("b", failure)), **WORKS, cuda_errors=2).cuda_errors == errors


def test_those_that_ended_unseen_are_counted_from_the_one_that_is_known_on() -> None:
    ended: dict[str, Any] = {
        "earlier": tuple(Finished(name, Failure.CUDA) for name in "abc"),
        "finished": Finished("d", Failure.CUDA),
    }
    assert after(job(**ended), **WORKS, finished="a").cuda_errors == 3
    assert after(job(**ended), **WORKS, finished="b").cuda_errors == 2
    assert after(job(**ended), **WORKS, finished="c").cuda_errors == 1
    assert after(job(**ended), **WORKS, finished="z").cuda_errors == 4


def test_a_sticky_error_is_remembered_through_what_ends_after_it() -> None:
    kept = after(job(finished=Finished("b", Failure.STICKY, "CUDA error: illegal access")), **WORKS)
    assert kept.poisoned == "job b ended with: CUDA error: illegal access"
    assert after(job(finished=OOM), **WORKS, poisoned=kept.poisoned).poisoned == kept.poisoned
    assert after(job(finished=OOM), **WORKS).poisoned == ""


@pytest.mark.parametrize(
    ("word", "cause", "reply", "well"),
    [
        (Word.IDLE, "healthy", Reply.GOOD, True),
        (Word.BUSY, "healthy", Reply.GOOD, True),
        (Word.BUSY, "stalled", Reply.GOOD, False),
        (Word.BUSY, "driver_mismatch", Reply.GOOD, False),
        (Word.SUSPECT, "healthy", Reply.GOOD, False),
        (Word.IDLE, "healthy", Reply.TIMEOUT, False),
    ],
)
def test_it_is_healthy_since_it_works_and_answers(word: Word, cause: str, reply: Reply, well: bool) -> None:
    assert after(seen(reply=reply), word=word, cause=cause).healthy == (NOW if well else None)
    assert after(seen(reply=reply), word=word, cause=cause, healthy=NOW - 9).healthy == (NOW - 9 if well else None)


@pytest.mark.parametrize(("healthy", "forgotten"), [(599.9, False), (600.0, True), (601.0, True)])
def test_long_enough_in_good_health_forgives_what_was_before(healthy: float, forgotten: bool) -> None:
    before: dict[str, Any] = {"row": 3, "given_up": True, "next_try": 5.0}
    alerted = ("deaf", "slowly-on-the-cpu")
    kept = after(
        seen(), word=Word.IDLE, cause="healthy", healthy=NOW - healthy, alerted=alerted, restarts=(1.0,), **before
    )
    expected = {"row": 0, "given_up": False, "next_try": None} if forgotten else before
    assert {name: getattr(kept, name) for name in before} == expected
    assert kept.alerted == (("slowly-on-the-cpu",) if forgotten else alerted)
    assert kept.restarts == (1.0,)
