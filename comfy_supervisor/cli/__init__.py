"""The command line: one thin module a verb, loaded when it is asked for."""

from .app import main

__all__ = ["main"]
