"""Fixtures for every room's tests."""

import os
import signal
from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import settings

from tests.nvml import nvml, nvml_library
from tests.supervisord import supervisord

__all__ = ["nvml", "nvml_library", "supervisord"]

# A shell ignores SIGINT for what it starts with &, and so would every process of the tests, which send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("no clocks", deadline=None)  # no test may depend on how fast the machine is
settings.register_profile("ci", deadline=None, derandomize=True, database=None)  # nor what fails on what was drawn
settings.load_profile("ci" if os.environ.get("CI") else "no clocks")


def _kill(pid: int, number: int, kill: Callable[[int, int], None] = os.kill) -> None:
    """Signal a process; never 0 or less, which would be whole groups of them, the tests and their caller among them."""
    assert pid > 0, f"signal {number} to process {pid}"
    kill(pid, number)


os.kill = _kill


SHARED = {
    "cli": ("running", "two"),
    "contract": ("bridged", "extended", "running"),
    "faults": ("ill", "inside", "one", "ward"),
    "health": ("faulty", "running"),
    "jobs": ("comfyui",),
    "standin": ("shared",),
}
"""By room: the fixtures of processes that many tests share."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one of xdist's workers run all tests that share a process: each of the others would start its own."""
    for item in items:
        if isinstance(item, pytest.Function) and (process := _process(item)):
            item.add_marker(pytest.mark.xdist_group(process))


def _process(test: pytest.Function) -> str:
    """Name the process that a test shares with others; empty: it has its own, or none."""
    room = test.path.parent.name
    shared = [name for name in SHARED.get(room, ()) if name in test.fixturenames]
    if not shared:
        return ""
    parameters = test.callspec.params if hasattr(test, "callspec") else {}
    return f"{room} {shared[-1]} {parameters.get(shared[-1], parameters.get('kind', ''))}"


REQUIRED = tuple(os.environ.get("REQUIRE", "").split())
"""Files and folders of tests none of which may be skipped: CONTRIBUTING.md."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Have a test fail that is skipped though $REQUIRE names it."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and REQUIRED and item.nodeid.startswith(REQUIRED) and isinstance(report.longrepr, tuple):
        report.outcome = "failed"
        report.longrepr = f"skipped, though $REQUIRE names it: {report.longrepr[2].removeprefix('Skipped: ')}"
