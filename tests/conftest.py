"""Fixtures for every room's tests."""

import signal

from hypothesis import settings

from tests.nvml import nvml, nvml_library
from tests.supervisord import supervisord

__all__ = ["nvml", "nvml_library", "supervisord"]

# A shell ignores SIGINT for what it starts with &, and so would every process of the tests, which send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("no clocks", deadline=None)  # no test may depend on how fast the machine is
settings.load_profile("no clocks")
