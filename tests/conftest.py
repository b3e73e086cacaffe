"""Fixtures for every room's tests."""

import os
import signal
from collections.abc import Callable

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
