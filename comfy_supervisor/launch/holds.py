"""``hold.json``: the note in an instance's run folder that says "don't start it now", why, and until when."""

from __future__ import annotations

import os

from . import records

BACKOFF = "backoff"
GAVE_UP = "gave_up"
CONFIGURATION = "configuration"
GPU_FAULT = "gpu_fault"
MAINTENANCE = "maintenance"

LAUNCHER = "launcher"
"""``by`` of the holds that the launcher put up for what it found itself; it alone looks after them, and a
later launcher looks anew, so that a launcher killed while it waits leaves nothing that keeps ComfyUI down."""


class Hold:
    """Why an instance is not to start, and until when."""

    def __init__(  # noqa: PLR0913, PLR0917  a record's fields; dataclasses take long to import
        self, reason: str, text: str, since: float, until: float | None = None, by: str = "", cause: str = ""
    ) -> None:
        """Keep what is known.

        ``reason`` is one of the words above, ``text`` a sentence for a person; ``since`` and ``until`` are
        seconds since the epoch (None: until somebody lifts it); ``by``: who put it up;
        ``cause``: the cause's id, the same in every report, as far as it is known.
        """
        self.reason = reason
        self.text = text
        self.since = since
        self.until = until
        self.by = by
        self.cause = cause

    def __eq__(self, other: object) -> bool:
        """Tell whether two holds are the same one."""
        return isinstance(other, Hold) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def is_over(self, now: float, waited: float) -> bool:
        """Tell whether its time has passed.

        ``now`` is the wall clock (seconds since the epoch), ``waited`` how long somebody has already waited
        for it by a clock that doesn't jump (seconds): a wall clock that was set back makes no hold longer.
        """
        if self.until is None:
            return False
        return now >= self.until or waited >= self.until - self.since


def path(run: str) -> str:
    """Return where the hold of the instance with this run folder lies."""
    return f"{run}/hold.json"


def read(run: str) -> Hold | None:
    """Return the hold in a run folder, None if there is none; raises records.MalformedError."""
    return _load(path(run))


def _load(file: str) -> Hold | None:
    record = records.read(file)
    if record is None:
        return None
    until = record.get("until")
    try:
        return Hold(
            reason=str(record["reason"]),
            text=str(record["text"]),
            since=records.number(record["since"]),
            until=None if until is None else records.number(until),
            by=str(record.get("by", "")),
            cause=str(record.get("cause", "")),
        )
    except (KeyError, ValueError) as error:
        raise records.MalformedError(f"{file}: {error}") from error


def write(run: str, hold: Hold, replace: bool = True) -> None:
    """Put a hold up, in place of any other; raises OSError, without ``replace`` FileExistsError if there is one."""
    records.write(path(run), {"v": 1, **vars(hold)}, replace)


def clear(run: str, only: Hold | None = None) -> None:
    """Lift the hold, whichever it is, or ``only`` this one if it is still there."""
    if only is None:
        records.remove(path(run))
    elif _is(path(run), only):
        _take_down(path(run), only)


def _take_down(file: str, hold: Hold) -> None:
    """Remove a file that held this hold a moment ago; one that took its place meanwhile is put back.

    Looking and removing can't be one step, but a file moved aside is nobody's any more. A still newer hold wins.
    """
    aside = f"{file}.{os.getpid()}.aside"
    try:
        os.rename(file, aside)
        if not _is(aside, hold):
            os.link(aside, file)
    except OSError:
        pass  # somebody else lifted it, or put up a newer one
    records.remove(aside)


def _is(file: str, hold: Hold) -> bool:
    try:
        return _load(file) == hold
    except records.MalformedError:
        return False
