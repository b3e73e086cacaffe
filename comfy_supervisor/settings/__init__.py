"""Settings: one TOML file and the environment, checked whole, frozen."""

from .load import FILE_NAME, PREFIX, Loaded, expanded, find, load, salvage
from .schema import Settings

__all__ = ["FILE_NAME", "PREFIX", "Loaded", "Settings", "expanded", "find", "load", "salvage"]
