"""The proof's own judgement: what it takes for expected, and what it shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.proof.faults import catalogue, show
from tests.proof.faults.fault import Expected, Fault, Seen, false_restarts, judge
from tests.proof.faults.rivals import Outcome, Rivalry, is_wrong
from tests.proof.faults.rivals import false_restarts as false_of_rivalry

EXPECTED = Expected("R by SIGKILL, A", 1, ("process_stopped",), ("port_in_use",), ("SUSPECT",))
RIGHT = Seen("idle", [2.0], 4.0, 1.0, ("process_stopped",), ("port_in_use",), ("SUSPECT", "IDLE"), "IDLE", jobs=3)


def test_what_was_expected_is_right() -> None:
    assert judge(EXPECTED, RIGHT) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"lives": []}, "0 new processes, not 1"),
        ({"lives": [2.0, 9.0]}, "2 new processes, not 1"),
        ({"causes": ()}, "restarted for nothing, not for process_stopped"),
        ({"causes": ("stalled",)}, "restarted for stalled, not for process_stopped"),
        ({"alerts": ()}, "port_in_use was not alerted"),
        ({"words": ("IDLE",)}, "never SUSPECT"),
        ({"final": "GAVE_UP"}, "GAVE_UP in the end, not IDLE"),
        ({"lost": 1}, "1 of 3 jobs lost"),
        ({"twice": 2}, "2 jobs done twice in 2 lives"),
        ({"complaints": ["it was seen twice"]}, "it was seen twice"),
    ],
)
def test_each_thing_that_differs_is_said(change: dict[str, object], complaint: str) -> None:
    assert judge(EXPECTED, replace(RIGHT, **change)) == [complaint]  # type: ignore[arg-type]


def test_a_job_that_was_done_as_its_process_died_may_be_done_once_more() -> None:
    assert judge(EXPECTED, replace(RIGHT, twice=1)) == []


def test_a_false_restart_is_one_more_than_was_needed() -> None:
    assert [false_restarts(EXPECTED, replace(RIGHT, lives=[1.0] * count)) for count in range(4)] == [0, 0, 1, 2]
    assert false_of_rivalry(Rivalry(7, "honest", print, lives=0), Outcome([1.0])) == 1


@pytest.mark.parametrize(
    ("lives", "outcome", "wrong"),
    [
        (1, Outcome([2.0], 3.0), False),
        (1, Outcome([2.0]), True),
        (1, Outcome([2.0], 3.0, lost=1), True),
        (1, Outcome([2.0, 8.0], 3.0), True),
        (0, Outcome(), False),
        (0, Outcome([5.0], 7.0), True),
    ],
    ids=["mended", "not mended", "a job lost", "a false restart", "left alone", "not left alone"],
)
def test_beside_the_peers_ours_has_to_mend_lose_nothing_and_do_no_more(
    lives: int, outcome: Outcome, wrong: bool
) -> None:
    assert is_wrong(Rivalry(1, "stopped", print, lives), outcome) is wrong


def fault(**more: object) -> Fault:
    return Fault(1, "stopped", EXPECTED, print, **more)  # type: ignore[arg-type]


def test_a_row_has_the_median_and_the_worst_and_how_often_it_was_right() -> None:
    rounds = [RIGHT, replace(RIGHT, detected=3.0), replace(RIGHT, detected=2.0, final="BUSY", lost=1)]
    row = show.row(fault(), rounds)
    assert row[3:] == ("**as expected 2 of 3 times**", "2.0 s (3.0)", "4.0 s (4.0)", "1 of 9", "0", "0")
    assert show.missed(fault(), rounds) == [
        "fault 1, stopped: BUSY in the end, not IDLE",
        "fault 1, stopped: 1 of 3 jobs lost",
    ]


def test_what_can_not_be_caused_here_is_neither_right_nor_wrong() -> None:
    rounds = [Seen(not_tried="needs root")]
    assert show.row(fault(), rounds)[3] == "not tried: needs root"
    assert show.missed(fault(), rounds) == []


def test_every_fault_has_its_number_and_something_to_expect() -> None:
    numbers = {each.number for each in catalogue.ALL}
    assert numbers == {*catalogue.LISTED, *catalogue.FOUND}
    assert all(each.expected.says and each.states for each in catalogue.ALL)
    names = [(each.number, each.name) for each in catalogue.ALL]
    assert len(set(names)) == len(names)
