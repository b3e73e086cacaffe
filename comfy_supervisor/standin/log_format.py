"""The log as ComfyUI writes it: bare messages, all on stderr unless ``--log-stdout``."""

from __future__ import annotations

import logging
import sys

_COLOURS = {"INFO": "32", "WARNING": "1;33", "ERROR": "1;31", "CRITICAL": "1;35"}
"""ANSI's, by level."""


class _Coloured(logging.Formatter):
    """Puts the level before each message, in colour even where nobody sees colours."""

    def format(self, record: logging.LogRecord) -> str:
        return f"\033[{_COLOURS.get(record.levelname, '36')}m[{record.levelname}]\033[0m {super().format(record)}"


def set_up(*, to_stdout: bool, coloured: bool) -> None:
    """Send the log of every module to stderr; with `to_stdout`, all but errors to stdout."""
    handlers = [logging.StreamHandler(sys.stderr)]
    if to_stdout:
        handlers[0].setLevel(logging.ERROR)
        handlers.append(logging.StreamHandler(sys.stdout))
        handlers[1].addFilter(lambda record: record.levelno < logging.ERROR)
    for handler in handlers:
        handler.setFormatter((_Coloured if coloured else logging.Formatter)("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=handlers)
