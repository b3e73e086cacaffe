"""Starts that failed: whether the next one would fail alike, by the end of the log and the way in which it ended."""

from __future__ import annotations

from pathlib import Path

from ... import catalogue
from ...launch import lastword, records
from ..policy.evidence import Ending

_REFUSED = "exited: exit status 2;"
"""How a command ends that can't be understood: argparse's way, and Python's own."""
_TAIL = 64 * 1024
"""Bytes at the end of a log that tell how a start failed."""
TRIES = 4
"""So many starts in a row have to fail of what may pass by itself; with the backoff, that is half a minute at least."""


class FailedStarts:
    """One instance's."""

    def __init__(self, log: str) -> None:
        """Keep the log's name."""
        self._log = log
        self._passing = ""
        """What the last starts failed of that may pass by itself …"""
        self._tries = 0
        """… and how many of them."""

    def forget(self) -> None:
        """Hear of an end that was no failed start's."""
        self._passing, self._tries = "", 0

    def judge(self, text: str) -> Ending:
        """Return what to make of a start's end, which supervisord tells of in ``text``."""
        log = lastword.without_next(_tail(self._log))
        code, number = lastword.how(text)
        cause, explanation = catalogue.configuration_fault(log.encode(), exit_code=code, signal=number)
        if cause and catalogue.entry(cause).may_pass and not self._lasts(cause):
            return Ending(text)
        if not cause and text.startswith(_REFUSED):
            line = lastword.telling(log)
            return Ending(text, "unknown", f"it can't run as it is configured ({text}); its last line: {line}")
        return Ending(text, cause, explanation)

    def _lasts(self, cause: str) -> bool:
        """Tell whether so many starts have failed of this, one after the other, that it won't pass."""
        self._tries = self._tries + 1 if cause == self._passing else 1
        self._passing = cause
        return self._tries >= TRIES


def _tail(file: str) -> str:
    try:
        with Path(file).open("rb") as log:
            return records.tail(log, _TAIL).decode(errors="replace")
    except OSError:
        return ""
