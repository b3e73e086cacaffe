"""The figures of a case: each clock from its beginning on, and each question at the edge of its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfy_supervisor.health.policy.case import AGAIN, SOFT_XIDS, Case
from comfy_supervisor.health.policy.evidence import Ending, Job, Patience, Reply, Sample, State, Word
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.model import GpuSight

from .looks import DEAF, REFUSED, UNASKED, runs, seen, vitals

NOW = 1000.0
WORKS = {"queue": 1, "running": "job-1"}
"""A state in which a job runs, and it is known which."""


def case(state: dict[str, Any] | None = None, rules: dict[str, Any] | None = None, **look: Any) -> Case:
    usual = State(began=NOW - 900, answered=NOW, active=NOW, log_moved=NOW, progress=NOW)
    return Case(replace(usual, **(state or {})), seen(**look), NOW, Rules(**(rules or {})))


@pytest.mark.parametrize(
    ("clock", "field"),
    [
        ("failing", "failing"),
        ("frozen", "frozen"),
        ("paused", "paused"),
        ("idle", "idle"),
        ("interrupted", "interrupted"),
        ("handled", "handled"),
        ("gone", "gone"),
        ("shaky", "shaky"),
    ],
)
def test_a_clock_that_does_not_run_shows_nothing_and_one_that_does_the_seconds_since(clock: str, field: str) -> None:
    assert getattr(case({field: None}), clock) == 0.0
    assert getattr(case({field: NOW - 7.5}), clock) == 7.5


@pytest.mark.parametrize(
    ("figure", "field"), [("age", "began"), ("word_for", "since"), ("quiet", "active"), ("still", "progress")]
)
def test_a_clock_that_always_runs_shows_the_seconds_since(figure: str, field: str) -> None:
    assert getattr(case({field: NOW - 7.5}), figure) == 7.5


def test_all_is_quiet_as_long_as_the_process_and_its_log_both_are() -> None:
    assert case({"active": NOW - 9, "log_moved": NOW - 5}).all_quiet == 5
    assert case({"active": NOW - 3, "log_moved": NOW - 5}).all_quiet == 3


def test_a_job_is_stalled_as_long_as_neither_it_nor_the_process_moves() -> None:
    assert case({"active": NOW - 9, "progress": NOW - 5}).stalled == 5
    assert case({"active": NOW - 3, "progress": NOW - 5}).stalled == 3


def test_what_never_answered_in_this_life_has_not_since_its_beginning() -> None:
    assert case({"answered": None}).unanswered == 900
    assert case({"answered": NOW - 4}).unanswered == 4
    assert case({"answered": None}).starting
    assert not case().starting


@pytest.mark.parametrize(
    ("reply", "answers", "fails"),
    [
        (Reply.GOOD, True, False),
        (Reply.TIMEOUT, False, True),
        (Reply.REFUSED, False, True),
        (Reply.STRANGE, False, False),
        (Reply.UNASKED, False, False),
    ],
)
def test_a_strange_answer_and_an_unasked_question_are_neither_good_nor_a_failure(
    reply: Reply, answers: bool, fails: bool
) -> None:
    assert (case(reply=reply).answers, case(reply=reply).fails) == (answers, fails)


def test_the_answer_in_words_is_its_own_or_its_kind() -> None:
    assert case(**DEAF).answer == "no answer in 5 s"
    assert case(reply=Reply.REFUSED, reply_text="").answer == Reply.REFUSED.value


@pytest.mark.parametrize(
    ("state", "look", "works"),
    [
        (WORKS, runs(), True),
        ({**WORKS, "running": ""}, runs(), False),
        ({**WORKS, "queue": 0}, runs(), False),
        ({**WORKS, "queue": 2}, runs(), True),
        ({**WORKS, "word": Word.SUSPECT}, {**runs(), "queue_seen": False}, True),
        (WORKS, {**runs(), "queue_seen": False}, False),
        (WORKS, {**runs(), **DEAF}, False),
    ],
)
def test_it_works_on_a_job_only_where_an_answer_says_which_one_runs(
    state: dict[str, Any], look: dict[str, Any], works: bool
) -> None:
    assert case(state, **look).works_on is works


@pytest.mark.parametrize(
    ("word", "over", "stalled", "runs_on"),
    [
        (Word.SUSPECT, False, 479, True),
        (Word.SUSPECT, False, 480, False),
        (Word.SUSPECT, False, 900, False),
        (Word.SUSPECT, True, 1, False),
        (Word.BUSY, False, 1, False),
    ],
)
def test_a_job_in_a_queue_that_can_not_be_seen_runs_on_while_it_is_watched_closely_but_not_for_ever(
    word: Word, over: bool, stalled: float, runs_on: bool
) -> None:
    state = {**WORKS, "word": word, "over": over, "active": NOW - stalled, "progress": NOW - stalled}
    assert case(state, **{**runs(), "queue_seen": False}).runs_on is runs_on
    assert case(state, **runs()).runs_on


@pytest.mark.parametrize(
    ("failing", "quiet", "sick"), [(30, 30, True), (29, 60, False), (60, 29, False), (31, 40, True)]
)
def test_one_that_fails_is_sick_once_it_has_done_nothing_for_as_long(failing: int, quiet: int, sick: bool) -> None:
    assert case({"failing": NOW - failing, "active": NOW - quiet}, **DEAF).sick is sick
    assert not case({"failing": NOW - failing, "active": NOW - quiet}).sick


@pytest.mark.parametrize(
    ("stalled", "patience", "sick"),
    [
        (134, Patience.NORMAL, False),
        (135, Patience.NORMAL, True),
        (136, Patience.NORMAL, True),
        (1e6, Patience.ENDLESS, False),
        (2699, Patience.REMOTE, False),
        (2700, Patience.REMOTE, True),
    ],
)
def test_a_job_makes_it_sick_after_three_quarters_of_its_time(stalled: float, patience: Patience, sick: bool) -> None:
    state = {**WORKS, "active": NOW - stalled, "progress": NOW - stalled}
    assert case(state, **runs(patience=patience)).sick is sick


def test_a_cuda_error_makes_it_sick() -> None:
    assert not case({"cuda_errors": 0}).sick
    assert case({"cuda_errors": 1}).sick
    assert case({"cuda_errors": 2}).sick


@pytest.mark.parametrize(
    ("patience", "after"), [(Patience.NORMAL, 180), (Patience.REMOTE, 3600), (Patience.ENDLESS, 180)]
)
def test_a_job_may_stand_still_as_long_as_its_nodes_are_to_be_met_with_patience(patience: Patience, after: int) -> None:
    assert case(WORKS, **runs(patience=patience)).stall_after == after
    assert case(WORKS, running=None).patience is Patience.NORMAL


@pytest.mark.parametrize(
    ("stalled", "patience", "suspicious"),
    [
        (89, Patience.NORMAL, False),
        (90, Patience.NORMAL, True),
        (91, Patience.NORMAL, True),
        (90, Patience.REMOTE, True),
        (90, Patience.ENDLESS, False),
    ],
)
def test_a_job_is_watched_more_closely_after_half_of_its_time(
    stalled: float, patience: Patience, suspicious: bool
) -> None:
    state = {**WORKS, "active": NOW - stalled, "progress": NOW - stalled}
    assert case(state, **runs(patience=patience)).suspicious is suspicious
    assert not case(state, **{**runs(patience=patience), "queue_seen": False}).suspicious


@pytest.mark.parametrize(
    ("state", "look", "moves"),
    [
        ({"queue": 1, "progress": NOW - 179}, {}, True),
        ({"queue": 1, "progress": NOW - 180}, {}, False),
        ({"queue": 3, "progress": NOW - 1}, {}, True),
        ({"queue": 0}, {}, False),
        ({"queue": 1}, DEAF, False),
        ({"queue": 1}, UNASKED, True),
    ],
)
def test_work_moves_that_has_moved_within_its_time(state: dict[str, Any], look: dict[str, Any], moves: bool) -> None:
    assert case(state, **look).moves is moves


@pytest.mark.parametrize(
    ("limit", "still", "out"), [(0, 1e6, False), (400, 399, False), (400, 400, True), (1, 2, True)]
)
def test_a_job_has_toiled_out_at_its_hard_limit_if_it_has_one(limit: float, still: float, out: bool) -> None:
    state = {**WORKS, "progress": NOW - still, "active": NOW}
    toils = case(state, {"stall_hard_limit": limit}, **runs())
    assert (toils.toiled_out, toils.hopeless) == (out, out)


@pytest.mark.parametrize(("stalled", "hopeless"), [(179, False), (180, True), (181, True)])
def test_a_job_is_hopeless_at_its_time(stalled: float, hopeless: bool) -> None:
    state = {**WORKS, "progress": NOW - stalled, "active": NOW - stalled}
    assert case(state, **runs()).hopeless is hopeless
    assert not case({**state, "running": ""}, **runs()).hopeless


@pytest.mark.parametrize(
    ("state", "interrupts", "can"),
    [
        (WORKS, True, True),
        (WORKS, False, False),
        ({**WORKS, "running": ""}, True, False),
        ({**WORKS, "interrupted": NOW - 1}, True, False),
    ],
)
def test_a_job_can_be_asked_once_where_it_is_known_which_and_the_release_can_name_it(
    state: dict[str, Any], interrupts: bool, can: bool
) -> None:
    assert case(state, {"interrupts": interrupts}, **runs()).can_interrupt is can


def test_the_drivers_soft_errors_are_those_that_often_are_a_programs_own() -> None:
    assert {13, 31, 43, 45, 63, 68, 94, 109} == SOFT_XIDS
    assert case(gpu=GpuSight(xids=(31, 79, 13))).soft_xids == (31, 13)
    assert case(gpu=None).soft_xids == ()


def test_a_gpu_that_nobody_sees_has_no_fault() -> None:
    assert (case(gpu=None).gpu_fault, case(gpu=None).gpu_cause) == ("", "")
    ill = case(gpu=GpuSight(fault="has fallen off the bus", cause="gpu_lost"))
    assert (ill.gpu_fault, ill.gpu_cause) == ("has fallen off the bus", "gpu_lost")


@pytest.mark.parametrize(
    ("state", "look", "spared"),
    [
        ({}, {}, False),
        ({"answered": None}, {}, True),
        ({}, {"waits": True}, True),
        ({}, UNASKED, True),
        ({}, REFUSED, False),
        ({"queue": 1}, {}, True),
        ({}, {"gpu": GpuSight(cause="driver_mismatch")}, True),
        ({}, {"gpu": GpuSight(cause="gpu_lost")}, False),
    ],
)
def test_a_gpus_fault_spares_a_life_that_starts_or_works_or_can_not_be_seen(
    state: dict[str, Any], look: dict[str, Any], spared: bool
) -> None:
    assert case(state, **look).spared is spared


def test_a_deed_may_take_effect_for_ten_seconds() -> None:
    assert AGAIN == 10.0
    assert not case({"acted": None}).awaits_effect
    assert case({"acted": NOW - 9.9}).awaits_effect
    assert not case({"acted": NOW - 10}).awaits_effect


@pytest.mark.parametrize(
    ("state", "look", "may"),
    [
        ({}, {"hold_ours": True}, True),
        ({}, {"hold_ours": False}, False),
        ({}, {"hold_ours": True, **DEAF}, False),
        ({}, {"hold_ours": True, "gpu": GpuSight(fault="lost")}, False),
        ({"acted": NOW - 59.9}, {"hold_ours": True}, False),
        ({"acted": NOW - 60}, {"hold_ours": True}, True),
    ],
)
def test_a_hold_of_ours_is_lifted_where_it_answers_and_nothing_was_done_for_a_minute(
    state: dict[str, Any], look: dict[str, Any], may: bool
) -> None:
    assert case(state, **look).may_lift is may


def test_what_a_row_alerted_in_this_life_is_remembered_by_its_name() -> None:
    assert case({"alerted": ("deaf",)}).said("deaf")
    assert not case({"alerted": ("deaf",)}).said("dea")


def test_a_configurations_fault_is_that_of_an_end_that_nobody_asked_for() -> None:
    assert case(ending=None).fault_of_configuration == ""
    assert case(ending=Ending("exited: exit status 2", "flag_unknown")).fault_of_configuration == "flag_unknown"
    assert case(ending=Ending("stopped: by somebody", "flag_unknown")).fault_of_configuration == ""


def test_a_lifes_own_end_is_not_counted_against_it() -> None:
    assert case({"restarts": (1.0, 2.0), "counted": 2.0}).deaths == 1
    assert case({"restarts": (1.0, 2.0), "counted": 3.0}).deaths == 2
    assert case({"restarts": (1.0, 2.0)}).deaths == 2
    assert case({"restarts": (2.0,), "counted": 2.0}).counted
    assert not case({"restarts": (2.0,)}).counted


def test_what_is_spent_is_said_in_minutes() -> None:
    assert case({"given_up": True}).spent == "it was given up before and has not been well for 10 min since"
    assert case({"restarts": (1.0, 2.0, 3.0)}).spent == "3 deaths and restarts within 60 min"
    long = Rules(healthy_after=6000.0, window=60_000.0)
    assert replace(case({"given_up": True}), rules=long).spent.endswith("well for 100 min since")
    assert replace(case(), rules=long).spent == "0 deaths and restarts within 1000 min"


def test_a_job_that_is_not_to_be_ended_is_spoken_of_after_half_an_hour_or_its_own_time() -> None:
    assert case(WORKS, **runs()).long_still == 1800
    assert case(WORKS, **runs(patience=Patience.REMOTE)).long_still == 3600


@pytest.mark.parametrize("word", list(Word))
def test_what_looked_ill_was_watched_closely(word: Word) -> None:
    closely = {Word.SUSPECT, Word.STALLED, Word.RESTARTING, Word.BLIND}
    assert case({"word": word}).watched_closely is (word in closely)


@pytest.mark.parametrize(
    ("state", "before"),
    [
        ({"given_up": True, "next_try": NOW + 1}, True),
        ({"given_up": True, "next_try": NOW}, False),
        ({"given_up": True, "next_try": None}, False),
        ({"given_up": False, "next_try": NOW + 1}, False),
        ({"given_up": True, "next_try": NOW + 1, "ended": True}, False),
    ],
)
def test_one_that_was_given_up_runs_before_its_next_try(state: dict[str, Any], before: bool) -> None:
    assert case(state).before_next_try is before


def test_the_figures_tell_the_cpu_since_the_oldest_sample_and_the_gpu_where_it_is_seen() -> None:
    state = {"active": NOW - 12, "samples": (Sample(NOW - 20, 3.5, 0, 0),), "activity": "uses 1.00 of a CPU"}
    quiet = "the process used 1.5 s of CPU in 20 s and has been quiet for 12 s"
    assert case(state, vitals=vitals(cpu=5.0)).figures == quiet
    assert case(state, vitals=vitals(cpu=5.0), gpu=GpuSight(percent=0)).figures == f"{quiet}, its GPU is at 0 %"
    assert case(state, vitals=vitals(cpu=1.0)).figures.startswith("the process used 0.0 s of CPU")


def test_the_figures_of_an_active_process_are_what_it_does() -> None:
    assert case({"active": NOW - 0.9, "activity": "uses 1.00 of a CPU"}).figures == "the process uses 1.00 of a CPU"
    assert case({"active": NOW, "activity": ""}).figures == "the process was just started"
    assert case({"active": NOW - 50, "activity": "can't be looked at"}, vitals=None).figures.endswith("looked at")
    state = {"active": NOW - 1, "activity": "uses 1.00 of a CPU", "samples": (Sample(NOW - 5, 0.0, 0, 0),)}
    assert case(state).figures.endswith("quiet for 1 s")


def test_a_job_that_nobody_sees_is_met_with_normal_patience() -> None:
    assert case(running=Job("job-1", Patience.ENDLESS)).patience is Patience.ENDLESS
    assert case(running=None).patience is Patience.NORMAL
