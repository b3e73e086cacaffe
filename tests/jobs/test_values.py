"""Jobs, lives and processes, and what is said of them: values that tell what they are, and do not change."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from comfy_supervisor.jobs.comfy import Ending, Queue, Reply, Taken
from comfy_supervisor.jobs.job import Job, Life, Process, State, Tally, Waits, token

LIFE = Life(1, "boot/7/1.5/12", "boot", 7, 1.5, "listener", "", None)
JOB = Job(1, "a", 5.0, State.QUEUED, 1, "", "", Waits.NOT, 0, 0, "", 0.0, 0.0)


@pytest.mark.parametrize(
    ("process", "is_its"),
    [
        (Process("boot", 7, 1.5), True),
        (Process("boot", 7, 1.5, image=99), True),
        (Process("boot", 7, 1.519), True),
        (Process("boot", 7, 1.481), True),
        (Process("boot", 7, 1.53), False),
        (Process("boot", 7, 1.47), False),
        (Process("boot", 8, 1.5), False),
        (Process("boot", 6, 1.5), False),
        (Process("another", 7, 1.5), False),
        (Process("coot", 7, 1.5), False),
    ],
)
def test_a_life_is_known_by_its_process(process: Process, is_its: bool) -> None:
    """The kernel tells when one began in ticks, and one side rounds otherwise than the other."""
    assert LIFE.is_of(process) is is_its


@pytest.mark.parametrize("witness", ["listener", "extension"])
def test_a_lifes_name_tells_its_image(witness: str) -> None:
    """Where it does not, or the kernel does not, it may have any."""
    assert token(Process("boot", 7, 1.5, 12)) == LIFE.token
    life = replace(LIFE, witness=witness)
    images = (0, 1, 11, 12, 13)
    assert [image for image in images if life.is_run_by(Process("boot", 7, 1.5, image))] == [0, 12]
    assert not life.is_run_by(Process("boot", 8, 1.5, 12))
    for anything in ("boot/7/1.5/0", "boot/7/1.5/1" + "0" * 20, "random", "12"):
        assert replace(life, token=anything).is_run_by(Process("boot", 7, 1.5, 13))


@pytest.mark.parametrize(
    ("token", "witness", "is_handed_over"),
    [("random/12", "listener", True), ("boot/7/1.5/12", "listener", False), ("random/12", "extension", False)],
)
def test_a_life_that_the_extension_has_left_has_its_name_still(token: str, witness: str, is_handed_over: bool) -> None:
    assert replace(LIFE, token=token, witness=witness).is_handed_over is is_handed_over


def test_what_is_kept_has_not_ended_and_is_not_set_aside() -> None:
    assert Tally(3, 3, 3, 5, 5, 5, 5).kept == 9


def test_where_nothing_is_said_there_is_none() -> None:
    assert Tally() == Tally(0, 0, 0, 0, 0, 0, 0)
    assert Process("boot", 7, 1.5) == Process("boot", 7, 1.5, image=0)
    assert not JOB.guessed
    assert Queue({}, frozenset()) == Queue({}, frozenset(), strange=0)


@pytest.mark.parametrize(
    "value",
    [JOB, LIFE, Tally(), Process("boot", 7, 1.5), Ending(None), Reply(Taken.NO), Queue({}, frozenset())],
    ids=lambda value: type(value).__name__,
)
def test_what_was_found_does_not_change(value: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)
