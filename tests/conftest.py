"""Fixtures for every room's tests."""

from hypothesis import settings

from tests.nvml import nvml, nvml_library
from tests.supervisord import supervisord

__all__ = ["nvml", "nvml_library", "supervisord"]

settings.register_profile("no clocks", deadline=None)  # no test may depend on how fast the machine is
settings.load_profile("no clocks")
