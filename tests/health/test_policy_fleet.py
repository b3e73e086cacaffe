"""When what befalls instances together is no fault of any of them."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_supervisor.health.policy.evidence import State, Word
from comfy_supervisor.health.policy.fleet import company
from comfy_supervisor.health.policy.rules import Rules

WELL = State(word=Word.IDLE, cause="healthy")
STOPPED = State(word=Word.STOPPED)
STARTS = State(word=Word.STARTING, cause="healthy")


def ill(at: float, cause: str = "api_unresponsive", **more: Any) -> State:
    return State(word=Word.SUSPECT, cause=cause, ill=at, **more)


@pytest.mark.parametrize(
    ("others", "together"),
    [
        ([ill(100.0)], True),
        ([ill(110.0)], True),
        ([ill(90.0)], True),
        ([ill(110.1)], False),
        ([ill(89.9)], False),
        ([ill(100.0, "stalled")], False),
        ([ill(100.0, "a")], False),
        ([ill(100.0, proven=True)], False),
        ([WELL], False),
        ([STOPPED], False),
        ([], False),
        ([ill(100.0), WELL], True),
        ([ill(100.0), WELL, WELL], True),
        ([ill(100.0), WELL, WELL, WELL], False),
        ([ill(100.0), WELL, STARTS, WELL], False),
        ([ill(100.0), WELL, WELL, STOPPED], True),
        ([ill(100.0), ill(100.0), WELL, WELL, WELL], True),
        ([ill(100.0), ill(100.0), WELL, WELL, WELL, WELL], False),
        ([ill(100.0), ill(100.0), ill(300.0)], True),
        ([ill(100.0), ill(100.0, proven=True)], False),
    ],
)
def test_company_is_two_and_half_of_all_that_nobody_stopped_alike_and_at_once(
    others: list[State], together: bool
) -> None:
    states = {"mine": ill(100.0), **{f"gpu{number}": state for number, state in enumerate(others)}}
    assert company("mine", states, Rules()) is together


@pytest.mark.parametrize("name", ["well", "nobody"])
def test_who_is_well_or_unknown_has_no_company(name: str) -> None:
    assert not company(name, {"well": WELL, "a": ill(1.0), "b": ill(1.0)}, Rules())


def test_one_whose_own_process_shows_it_has_no_company() -> None:
    assert not company("mine", {"mine": ill(1.0, proven=True), "other": ill(1.0)}, Rules())
