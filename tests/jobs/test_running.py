"""Whether it is still the same process that answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import life as bridge_life
from comfy_supervisor.jobs.running import goes_on

from .conftest import ME, PROCESS


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
    """Its token names its image, by which either side tells it from what the process executes next."""
    again = bridge_life.this_one()
    assert (again.boot, again.pid, again.started) == (ME.boot, ME.pid, ME.started)
    assert again.token != ME.token
    assert again.token.endswith(f"/{_image()}")
