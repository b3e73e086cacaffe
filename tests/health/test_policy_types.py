"""What the policy's values are before anything is known, and how they are said."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest

from comfy_supervisor.health.policy.evidence import (
    Deed,
    Ending,
    Failure,
    Finished,
    Hand,
    Job,
    Life,
    Observation,
    Patience,
    Reply,
    Sample,
    State,
    Verdict,
    Vitals,
    Word,
)
from comfy_supervisor.health.policy.row import Row, of
from comfy_supervisor.health.policy.rules import Rules

DEFAULTS = {
    "probe_every": 5.0,
    "suspect_every": 1.0,
    "deadline": 5.0,
    "start_grace": 600.0,
    "start_quiet": 120.0,
    "quiet": 30.0,
    "patience": 1800.0,
    "frozen": 10.0,
    "stall_after": 180.0,
    "stall_api_after": 3600.0,
    "stall_alert_after": 1800.0,
    "stall_hard_limit": 0.0,
    "interrupt_wait": 10.0,
    "paused": 300.0,
    "active_window": 10.0,
    "active_cores": 0.2,
    "active_bytes": 1_048_576,
    "cuda_errors": 3,
    "memory_limit": 0,
    "recycle_after": 0.0,
    "idle_before_recycle": 5.0,
    "budget": 5,
    "window": 3600.0,
    "retry_after": 900.0,
    "first_delay": 10.0,
    "longest_delay": 300.0,
    "healthy_after": 600.0,
    "blind_within": 10.0,
    "gpu_meant": True,
    "gpu_require": True,
    "interrupts": True,
}


def test_the_rules_are_those_that_the_settings_promise() -> None:
    assert asdict(Rules()) == DEFAULTS


@pytest.mark.parametrize(
    ("deaths", "delay"), [(0, 0), (1, 0), (2, 10), (3, 20), (4, 40), (6, 160), (7, 300), (999, 300)]
)
def test_each_death_after_the_first_doubles_the_wait_up_to_the_longest(deaths: int, delay: float) -> None:
    assert Rules().delay(deaths) == delay


def test_a_wait_that_may_grow_without_end_does_so_for_sixty_six_deaths() -> None:
    assert Rules(longest_delay=1e30).delay(66) == 10 * 2.0**64
    assert Rules(longest_delay=1e30).delay(67) == 10 * 2.0**64
    assert Rules(longest_delay=1e30).delay(65) == 10 * 2.0**63


def test_nothing_is_remembered_before_the_first_look() -> None:
    word, reply = State().word, State().reply
    assert (word, reply) == (Word.STOPPED, Reply.UNASKED)
    others = {name: value for name, value in vars(State()).items() if name not in {"word", "reply"}}
    assert not any(others.values()), others
    for name, value in others.items():
        assert value == 0 or value is None or value in ("", ()), name


def test_what_a_look_does_not_tell_is_unknown() -> None:
    told = {**vars(Observation("RUNNING"))}
    assert told.pop("supervised") == "RUNNING"
    assert (told.pop("reply"), told.pop("hand"), told.pop("journal")) == (Reply.UNASKED, Hand.IDLE, "ok")
    assert not any(told.values()), told


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        (Life("boot", 1, 2.0), {"boot": "boot", "pid": 1, "started": 2.0, "image": 0}),
        (Job("a"), {"prompt_id": "a", "patience": Patience.NORMAL, "place": ""}),
        (Finished("a"), {"prompt_id": "a", "failure": Failure.NONE, "text": ""}),
        (Ending(), {"text": "", "cause": "", "explanation": ""}),
        (Sample(1.0, 2.0, 3, 4), {"at": 1.0, "cpu": 2.0, "io": 3, "faults": 4, "waited": 0.0}),
        (
            Vitals("S", 1.0, 2, 3, 4),
            {
                "status": "S",
                "cpu": 1.0,
                "io": 2,
                "faults": 3,
                "memory": 4,
                "waited": 0.0,
                "waits_for_disk": False,
                "listens": None,
            },
        ),
        (
            Verdict(Word.IDLE),
            {
                "word": Word.IDLE,
                "deed": Deed.NOTHING,
                "cause": "healthy",
                "reason": "",
                "life": None,
                "prompt_id": "",
                "hold": "",
                "hold_seconds": None,
            },
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_says_no_more_than_it_was_told_and_is_not_written_into(value: Any, rest: dict[str, Any]) -> None:
    assert vars(value) == rest
    with pytest.raises(FrozenInstanceError):
        setattr(value, next(iter(rest)), None)


@pytest.mark.parametrize("kind", [State, lambda: Observation("RUNNING"), Rules])
def test_what_the_policy_is_told_and_remembers_is_not_written_into(kind: Any) -> None:
    value = kind()
    with pytest.raises(FrozenInstanceError):
        setattr(value, next(iter(vars(value))), None)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (7, 7, True),
        (7, 8, False),
        (8, 7, False),
        (0, 7, True),
        (7, 0, True),
        (0, 0, True),
    ],
)
def test_an_image_that_is_unknown_tells_two_lives_apart_as_little_as_an_equal_one(
    one: int, other: int, same: bool
) -> None:
    assert Life("boot", 1, 2.0, one).is_same(Life("boot", 1, 2.0, other)) is same


@pytest.mark.parametrize("other", [None, Life("b", 1, 2.0, 7), Life("boot", 2, 2.0, 7), Life("boot", 1, 2.5, 7)])
def test_another_process_is_another_life(other: Life | None) -> None:
    assert not Life("boot", 1, 2.0, 7).is_same(other)
    assert Life("boot", 1, 2.0, 7).process == ("boot", 1, 2.0)


@pytest.mark.parametrize(
    ("text", "told", "asked_for", "clean"),
    [
        ("", "", False, False),
        ("stopped: by somebody", "", True, False),
        ("exited: exit status 0; expected", "ended by itself: exit status 0; expected", False, True),
        ("exited: exit status 1; not expected", "ended by itself: exit status 1", False, False),
        ("exited: terminated by SIGSEGV (core dumped); not expected", "crashed with SIGSEGV", False, False),
        ("exited: terminated by SIGTERM; not expected", "was ended by SIGTERM from outside, not by us", False, False),
        (
            "exited: terminated by SIGKILL; not expected",
            "was ended by SIGKILL from outside, not by us: a kill -9, or the kernel for want of memory (see dmesg)",
            False,
            False,
        ),
    ],
)
def test_an_end_is_said_as_what_it_was(text: str, told: str, asked_for: bool, clean: bool) -> None:
    ending = Ending(text)
    assert (ending.told, ending.asked_for, ending.clean) == (told, asked_for, clean)


def test_a_verdict_is_said_in_one_line_with_its_deed_if_it_has_one() -> None:
    assert Verdict(Word.IDLE, reason="works").told == "IDLE: works"
    assert Verdict(Word.RESTARTING, Deed.RESTART, reason="deaf").told == "RESTARTING [restart]: deaf"


def test_a_row_does_nothing_that_it_does_not_say() -> None:
    row = Row("idle", when=lambda _: True, word=Word.IDLE, reason="works")
    figures = {name: value for name, value in vars(row).items() if name not in {"name", "when", "word", "reason"}}
    assert figures == {
        "cause": "healthy",
        "deed": Deed.NOTHING,
        "clock": 0.0,
        "after": 0.0,
        "early": Word.SUSPECT,
        "hold": "",
        "hold_seconds": None,
        "shared": False,
        "planned": False,
    }
    assert of(row.word, None) is Word.IDLE  # type: ignore[arg-type]  # a plain value asks nobody
