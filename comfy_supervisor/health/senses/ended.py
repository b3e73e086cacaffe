"""The job that ended last: asked for only when one may have ended, since ComfyUI answers with its whole graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..policy.evidence import Failure, Finished
from ..policy.rules import Rules
from .api import Api

_RARELY = 6
"""Looks between two questions for which there is no good reason: half a minute."""
_SIGNS = (b"Prompt executed", b"!!! Exception", b"Traceback")
"""What ComfyUI logs when a job ends (main.py, execution.py: 0.3 to 0.33), and what may be its last words on one."""
_OVERLAP = max(map(len, _SIGNS)) - 1
_MOST = 256 * 1024
"""Bytes that are searched; in more of them than that, a job may well have ended."""


class Log:
    """A log, searched for the end of a job as it grows."""

    def __init__(self, file: str) -> None:
        """Begin at its end."""
        self._file = Path(file)
        self.mark = self._measured()
        """Differs whenever it has grown, was rotated or cut."""

    def _measured(self) -> tuple[int, int]:
        """Return which file it is, and its bytes; zeros if there is none."""
        try:
            status = self._file.stat()
        except OSError:
            return 0, 0
        return status.st_ino, status.st_size

    def tells(self) -> bool:
        """Tell whether a job may have ended, by what was added since the last time; a rotated log may hide one."""
        inode, start = self.mark
        self.mark = self._measured()
        size = self.mark[1]
        if self.mark[0] != inode or not 0 <= size - start <= _MOST:
            return True
        added = self._between(start, size) if size > start else b""
        return any(sign in added for sign in _SIGNS)

    def _between(self, start: int, end: int) -> bytes:
        begin = max(0, start - _OVERLAP)
        try:
            with self._file.open("rb") as log:
                log.seek(begin)
                return log.read(end - begin)
        except OSError:
            return _SIGNS[0]  # it is gone again


class Ended:
    """What is known of the jobs of one life that have ended; asks from one thread."""

    def __init__(self, api: Api, log: str, rules: Rules) -> None:
        """Keep what is needed; asks nothing yet."""
        self.last: Finished | None = None
        self.earlier: tuple[Finished, ...] = ()
        """Those that ended before it, where it ended with a CUDA error."""
        self._api = api
        self._rules = rules
        self._log = Log(log)
        self._work: Sequence[object] | None = None
        self._moved = self._due = False
        self._asked = float("-inf")

    def look(self, work: Sequence[object], now: float, *, by_log: bool) -> None:
        """Ask for the last one if it may be another, as rarely as that can be told.

        ``work`` differs whenever a job may have ended. Where nobody tells which one runs (``by_log``), the log does;
        a progress bar moves that each second, so that its other lines count only now and then.
        """
        self._due |= work != self._work
        self._work = work
        if by_log:
            self._read_log()
        pause = now - self._asked
        rarely = _RARELY * self._rules.probe_every
        if (self._due and pause >= self._rules.probe_every / 2) or (self._moved and pause >= rarely):
            self._asked, self._due = now, False
            self._moved = not self._ask()  # one that was not answered is asked again, and not at once

    def _read_log(self) -> None:
        before = self._log.mark
        self._due |= self._log.tells()
        self._moved |= self._log.mark != before

    def _ask(self) -> bool:
        """Ask, and return whether there was an answer."""
        last = self._api.last_finished(self._rules.deadline)
        if last is not None and last.prompt_id and last != self.last:
            self.last, self.earlier = last, self._before(last)
        return last is not None

    def _before(self, last: Finished) -> tuple[Finished, ...]:
        """Return the jobs before one that ended with a CUDA error: between two looks, several may have ended."""
        if last.failure is not Failure.CUDA:
            return ()
        return self._api.finished_before(last, self._rules.cuda_errors - 1, self._rules.deadline) or ()
