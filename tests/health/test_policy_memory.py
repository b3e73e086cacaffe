"""What is carried from one look, and from one life, to the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfy_supervisor.health.policy.evidence import Ending, Hand, Life, Observation, Sample, State, Word
from comfy_supervisor.health.policy.memory import longest_gap, remember
from comfy_supervisor.health.policy.rules import Rules

from .looks import LIFE, NOBODY, UNASKED, WAITS, new_life, seen

NOW = 5000.0
CRASH = Ending("exited: exit status 1; not expected")
WELL_ENDED = Ending("exited: exit status 0; expected")
STOPPED = Ending("stopped: by somebody")


def after(look: Observation, rules: dict[str, Any] | None = None, **state: Any) -> State:
    """Return what is remembered after a look, the one before five seconds ago."""
    usual = State(life=LIFE, seen=NOW - 5, began=NOW - 900, answered=NOW - 5, word=Word.IDLE, cause="healthy")
    return remember(replace(usual, **state), look, NOW, Rules(**(rules or {})))


@pytest.mark.parametrize(
    ("rules", "gap"),
    [
        ({}, 30.0),
        ({"probe_every": 10.0}, 30.0),
        ({"probe_every": 11.0}, 33.0),
        ({"suspect_every": 11.0}, 33.0),
        ({"deadline": 6.0}, 36.0),
        ({"probe_every": 1.0, "deadline": 1.0}, 30.0),
    ],
)
def test_two_looks_tell_of_each_other_over_a_few_looks_time(rules: dict[str, Any], gap: float) -> None:
    assert longest_gap(Rules(**rules)) == gap


CLOCKS = ("failing", "frozen", "paused", "interrupted", "shaky", "ill", "healthy", "acted", "handled", "gone")


@pytest.mark.parametrize(("gap", "moved"), [(29.0, 0.0), (30.0, 0.0), (31.0, 31.0), (-1.0, -1.0), (0.0, 0.0)])
def test_a_time_that_nobody_looked_counts_for_nothing(gap: float, moved: float) -> None:
    """``idle`` and ``progress`` speak for all clocks that a look itself writes anew, or not."""
    kept = after(seen(queue=0), seen=NOW - gap, idle=100.0, ill=70.0, acted=80.0, answered=50.0)
    assert (kept.idle, kept.ill, kept.acted, kept.seen) == (100.0 + moved, 70.0 + moved, 80.0 + moved, NOW)


def test_a_long_gap_moves_every_clock_and_drops_the_samples() -> None:
    clocks: dict[str, Any] = dict.fromkeys(CLOCKS, 100.0)
    kept = after(
        seen(life=None, supervised="BACKOFF", hand=Hand.BUSY),
        seen=NOW - 40,
        samples=(Sample(1.0, 1.0, 1, 1),),
        active=100.0,
        log_moved=100.0,
        progress=100.0,
        idle=100.0,
        **clocks,
    )
    moved = ("failing", "frozen", "paused", "interrupted", "shaky", "ill", "healthy", "gone", "handled")
    assert {name: getattr(kept, name) for name in moved} == dict.fromkeys(moved, 140.0)
    assert (kept.active, kept.log_moved, kept.progress, kept.idle) == (140.0, 140.0, 140.0, 140.0)
    assert kept.answered == NOW - 5 + 40
    assert kept.samples == ()
    assert kept.acted == NOW


def test_a_start_that_nobody_saw_begins_later_but_a_life_that_has_answered_does_not() -> None:
    assert after(seen(**UNASKED), seen=NOW - 40, answered=None, began=100.0).began == 140.0
    assert after(seen(**UNASKED), seen=NOW - 40, answered=50.0, began=100.0).began == 100.0


def test_a_first_look_moves_nothing() -> None:
    assert after(seen(queue=0), seen=0.0, idle=100.0, ill=70.0).ill == 70.0


def test_while_nothing_can_be_told_the_evidence_stands_still_and_the_rest_goes_on() -> None:
    kept = after(seen(**UNASKED), failing=100.0, progress=100.0, idle=None, ill=70.0)
    assert (kept.failing, kept.progress, kept.idle, kept.ill) == (105.0, 105.0, None, 70.0)
    assert after(seen(**{**NOBODY, "supervised": "BACKOFF"}), failing=100.0).failing == 100.0


@pytest.mark.parametrize(
    ("restarts", "kept"),
    [
        ((NOW - 3600, NOW - 3599.9, NOW), (NOW - 3599.9, NOW)),
        ((NOW - 1, NOW + 0.1), (NOW - 1,)),
        (tuple(NOW - number for number in range(9, 0, -1)), tuple(NOW - number for number in range(6, 0, -1))),
        (tuple(NOW - number for number in range(6, 0, -1)), tuple(NOW - number for number in range(6, 0, -1))),
    ],
)
def test_deaths_are_remembered_within_their_window_and_no_more_than_the_budget_and_one(
    restarts: tuple[float, ...], kept: tuple[float, ...]
) -> None:
    assert after(seen(), restarts=restarts).restarts == kept


@pytest.mark.parametrize("hand", [Hand.BUSY, Hand.STUCK])
def test_our_hand_is_at_work_from_the_first_look_that_shows_it(hand: Hand) -> None:
    assert after(seen(hand=hand)).handled == NOW
    assert after(seen(hand=hand), handled=NOW - 9, acted=1.0).handled == NOW - 9
    assert after(seen(hand=hand), acted=1.0).acted == NOW
    idle = after(seen(hand=Hand.IDLE), handled=NOW - 9, acted=1.0)
    assert (idle.handled, idle.acted) == (None, 1.0)


def test_an_operator_forgives_all_that_was_counted() -> None:
    spent: dict[str, Any] = {
        "restarts": (NOW - 9,),
        "row": 4,
        "given_up": True,
        "next_try": NOW + 100,
        "counted": NOW - 9,
    }
    kept = after(seen(reset=True), **spent)
    assert (kept.restarts, kept.row, kept.given_up, kept.next_try, kept.counted) == ((), 0, False, None, None)
    kept = after(seen(), **spent)
    assert (kept.restarts, kept.row, kept.given_up) == ((NOW - 9,), 4, True)


@pytest.mark.parametrize("word", ["STOPPED", "STOPPING"])
def test_one_that_an_operator_stopped_starts_anew(word: str) -> None:
    look = seen(**{**NOBODY, "supervised": word})
    kept = after(look, restarts=(NOW - 9,), row=4, since=7.0, reason="works", gone=3.0)
    assert kept == State(word=Word.IDLE, since=7.0, cause="healthy", reason="works", seen=NOW, gone=NOW)
    ours = after(replace(look, hand=Hand.BUSY), restarts=(NOW - 9,), row=4)
    assert (ours.restarts, ours.row, ours.life) == ((NOW - 9,), 4, LIFE)


def test_where_nothing_runs_the_last_life_is_kept_and_the_time_counted() -> None:
    kept = after(seen(**NOBODY))
    assert (kept.life, kept.gone) == (LIFE, NOW)
    assert after(seen(**NOBODY), gone=NOW - 9).gone == NOW - 9
    assert after(seen(), gone=NOW - 9).gone is None


def test_a_state_is_never_written_into() -> None:
    before = State(life=LIFE, seen=NOW - 5, began=1.0, answered=NOW - 5)
    copy = replace(before)
    remember(before, seen(**new_life()), NOW, Rules())
    assert before == copy


def test_the_image_of_a_life_is_learnt_when_it_can_be_told() -> None:
    unknown = replace(LIFE, image=0)
    assert after(seen(), life=unknown).life == LIFE
    assert after(seen(life=unknown)).life == LIFE
    assert after(seen(), life=unknown).answered == NOW  # the same life


CARRIED: dict[str, Any] = {
    "since": 7.0,
    "reason": "works",
    "row": 2,
    "given_up": True,
    "next_try": NOW + 500,
    "handled": None,
    "acted": 80.0,
}


def test_a_new_life_knows_nothing_and_what_was_counted_before_goes_on() -> None:
    kept = after(seen(**new_life(log=4, age=3.0, queue=None)), **CARRIED, cuda_errors=2, alerted=("deaf",), good=9)
    assert kept.life == Life("boot", 101, 151.0, 101)
    assert (kept.began, kept.active, kept.log, kept.log_moved, kept.progress) == (NOW - 3, NOW, 4, NOW, NOW)
    assert (kept.cuda_errors, kept.alerted, kept.good, kept.answered) == (0, (), 1, NOW)
    assert {name: getattr(kept, name) for name in CARRIED} == {**CARRIED, "row": 3}
    assert kept.restarts == (NOW,)
    assert kept.unexplained == NOW
    assert kept.lasted == 900
    assert kept.cause == "healthy"


def test_the_same_process_with_another_image_goes_on_without_a_death() -> None:
    kept = after(seen(life=replace(LIFE, image=8), age=900.0), lasted=5.0, unexplained=3.0, restarts=(NOW - 9,))
    assert (kept.began, kept.lasted, kept.restarts) == (NOW, 5.0, (NOW - 9,))
    assert after(seen(life=replace(LIFE, image=8), age=900.0), unexplained=3.0).unexplained == 3.0
    assert after(seen(**new_life(ending=None)), unexplained=3.0, ended=True).unexplained is None


def test_the_first_life_of_all_is_nobodys_death() -> None:
    kept = after(seen(age=60.0), life=None, row=0)
    assert (kept.restarts, kept.row, kept.began, kept.lasted, kept.unexplained) == ((), 0, NOW - 60, 0.0, None)


def test_an_end_of_ours_is_counted_when_it_is_brought_about_and_not_once_more() -> None:
    kept = after(seen(**new_life()), ended=True, restarts=(NOW - 9,), row=1)
    assert (kept.restarts, kept.row, kept.ended, kept.unexplained) == ((NOW - 9,), 1, False, None)


def test_the_launchers_own_end_is_no_death() -> None:
    kept = after(seen(**new_life(), **{**WAITS, "reply": WAITS["reply"]}), waits=True)
    assert (kept.restarts, kept.row, kept.waits, kept.lasted) == ((), 0, True, 0.0)


def test_the_launcher_that_becomes_comfyui_is_a_new_life_of_the_same_process() -> None:
    kept = after(seen(queue=None), waits=True, restarts=(NOW - 9,), began=100.0, cuda_errors=2)
    assert (kept.began, kept.cuda_errors, kept.restarts, kept.waits) == (NOW, 0, (NOW - 9,), False)
    assert after(seen(**WAITS), waits=True, began=100.0).began == 100.0


@pytest.mark.parametrize(
    ("lives", "past", "deaths"),
    [
        (0, 0, 1),
        (2, 0, 1),
        (3, 0, 2),
        (5, 1, 3),
        (5, 4, 1),
        (500, 0, 100),
    ],
)
def test_deaths_too_short_to_be_seen_are_counted_as_the_launcher_does(lives: int, past: int, deaths: int) -> None:
    kept = after(seen(**new_life(lives=lives)), {"budget": 1000}, past=past, row=1)
    assert len(kept.restarts) == deaths
    assert kept.row == 1 + deaths
    assert kept.restarts[-1] == NOW
    assert kept.restarts == tuple(sorted(set(kept.restarts)))
    assert kept.restarts[0] == pytest.approx(NOW - 0.001 * (deaths - 1), abs=1e-6)


def test_of_the_deaths_between_two_looks_one_may_be_ours() -> None:
    assert len(after(seen(**new_life(lives=5)), past=1, ended=True).restarts) == 2
    assert len(after(seen(**new_life(lives=2)), past=1, ended=True).restarts) == 0


@pytest.mark.parametrize(
    ("lives", "waits", "before", "past"),
    [
        (3, False, 0, 2),
        (3, True, 0, 3),
        (3, False, 3, 3),
        (3, False, 4, 2),
        (0, False, 5, 5),
        (1, False, 0, 0),
        (2, False, 1, 1),
    ],
)
def test_how_many_lives_are_over_is_what_was_seen_unless_the_record_began_anew(
    lives: int, waits: bool, before: int, past: int
) -> None:
    look = seen(**WAITS) if waits else seen()
    assert after(replace(look, lives=lives), waits=waits, past=before).past == past


@pytest.mark.parametrize(
    ("state", "pardoned"),
    [
        ({"waits": True, "given_up": True, "next_try": NOW + 2.1}, True),
        ({"waits": True, "given_up": True, "next_try": NOW + 2.0}, False),
        ({"waits": True, "given_up": True, "next_try": NOW - 5}, False),
        ({"waits": True, "given_up": False, "next_try": NOW + 90}, False),
        ({"waits": True, "given_up": True, "next_try": None}, False),
    ],
)
def test_one_that_was_given_up_and_goes_on_before_its_time_was_let_go(state: dict[str, Any], pardoned: bool) -> None:
    kept = after(seen(), **state, row=4, restarts=(NOW - 9,))
    assert (kept.row, kept.restarts) == ((0, ()) if pardoned else (4, (NOW - 9,)))


def test_another_image_of_one_that_did_not_wait_lets_nobody_go() -> None:
    kept = after(seen(life=replace(LIFE, image=8)), given_up=True, next_try=NOW + 90, row=4)
    assert (kept.given_up, kept.row) == (True, 4)


@pytest.mark.parametrize(
    ("ending", "lasted", "restarts", "row"),
    [
        (None, 900.0, (1990.0, 2000.0), 2),
        (CRASH, 900.0, (1990.0, 2000.0), 2),
        (WELL_ENDED, 900.0, (1990.0,), 1),
        (WELL_ENDED, 10.0, (1990.0,), 1),
        (WELL_ENDED, 9.9, (1990.0, 2000.0), 2),
        (STOPPED, 900.0, (), 0),
    ],
)
def test_an_end_that_somebody_wanted_or_that_was_well_is_no_death(
    ending: Ending | None, lasted: float, restarts: tuple[float, ...], row: int
) -> None:
    kept = after(seen(ending=ending), restarts=(1990.0, 2000.0), row=2, unexplained=2000.0, lasted=lasted)
    assert (kept.restarts, kept.row) == (restarts, row)
    assert kept.unexplained == (2000.0 if ending is None else None)


@pytest.mark.parametrize("ending", [WELL_ENDED, STOPPED])
def test_an_end_that_is_explained_explains_no_other(ending: Ending) -> None:
    kept = after(seen(ending=ending), restarts=(1990.0, 2000.0), row=2, unexplained=None, lasted=900.0)
    assert (kept.restarts, kept.row) == ((1990.0, 2000.0), 2)
    absent = after(seen(ending=WELL_ENDED), restarts=(1990.0,), row=2, unexplained=2000.0, lasted=900.0)
    assert (absent.restarts, absent.row) == ((1990.0,), 2)


def test_what_waits_is_not_worked_in() -> None:
    kept = after(seen(**{**WAITS, "log": 9}), waits=True, log=7, failing=100.0)
    assert (kept.log, kept.failing) == (7, 105.0)
