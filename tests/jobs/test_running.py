"""Which process it is that answers, and whose life that is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import life as bridge_life
from comfy_supervisor.jobs.job import Life, Process, Tally, token
from comfy_supervisor.jobs.running import goes_on

from .conftest import ME, PROCESS

LIFE = Life(1, "boot/7/1.5/12", "boot", 7, 1.5, "listener", "", None)


def _image() -> int:
    """Return where the kernel has this process's code: proc(5)."""
    return int(Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[25])


def test_whether_a_process_goes_on() -> None:
    assert goes_on(PROCESS)
    assert goes_on(replace(PROCESS, started=PROCESS.started + 0.01))
    for otherwise in (-1.0, -0.03, 0.03, 1.0):
        assert not goes_on(replace(PROCESS, started=PROCESS.started + otherwise))
    assert not goes_on(replace(PROCESS, pid=2**22 + 1))


@pytest.mark.parametrize("known", [True, False])
def test_a_process_that_executes_something_else_does_not_go_on(known: bool) -> None:
    """Where the kernel tells, as it does its owner."""
    image = _image()
    assert goes_on(replace(PROCESS, image=image if known else 0))
    for other in (image + 1, image - 1, 12345):
        assert goes_on(replace(PROCESS, image=other)) is (image == 0)


def test_this_process_is_who_it_says() -> None:
    again = bridge_life.this_one()
    assert (again.boot, again.pid, again.started) == (ME.boot, ME.pid, ME.started)
    assert (len(again.token), again.token == ME.token) == (16, False)


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
        (Process("another", 7, 1.5), False),
    ],
)
def test_a_life_is_known_by_its_process(process: Process, is_its: bool) -> None:
    """The kernel tells when one began in ticks, and one end rounds otherwise than the other."""
    assert LIFE.is_of(process) is is_its


def test_what_the_listener_names_a_life_by_tells_its_image() -> None:
    assert token(Process("boot", 7, 1.5, 12)) == LIFE.token
    assert LIFE.image == 12
    assert replace(LIFE, token="boot/7/1.5/1" + "0" * 20).image == 0
    assert replace(LIFE, token="random").image == 0
    assert replace(LIFE, witness="extension").image == 0


@pytest.mark.parametrize(
    ("token", "witness", "is_handed_over"),
    [("random", "listener", True), ("boot/7/1.5/12", "listener", False), ("random", "extension", False)],
)
def test_a_life_that_the_extension_has_left_has_its_name_still(token: str, witness: str, is_handed_over: bool) -> None:
    assert replace(LIFE, token=token, witness=witness).is_handed_over is is_handed_over


def test_what_is_kept_has_not_ended_and_is_not_set_aside() -> None:
    assert Tally(1, 2, 4, 8, 16, 32, 64).kept == 7
