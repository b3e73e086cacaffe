"""Settings: one TOML file and the environment, checked whole, frozen."""

from .load import FILE_NAME, Loaded, find, load, salvage
from .schema import Settings

__all__ = ["FILE_NAME", "Loaded", "Settings", "find", "load", "salvage"]
