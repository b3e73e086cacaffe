"""``hold.json``: the note in an instance's run folder that says "don't start it now", why, and until when."""

from __future__ import annotations

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

    def __init__(self, reason: str, text: str, since: float, until: float | None = None, by: str = "") -> None:
        """Keep what is known.

        ``reason`` is one of the words above, ``text`` a sentence for a person; ``since`` and ``until`` are
        seconds since the epoch (None: until somebody lifts it); ``by``: who put it up.
        """
        self.reason = reason
        self.text = text
        self.since = since
        self.until = until
        self.by = by

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
    record = records.read(path(run))
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
        )
    except (KeyError, ValueError) as error:
        raise records.MalformedError(f"{path(run)}: {error}") from error


def write(run: str, hold: Hold, replace: bool = True) -> None:
    """Put a hold up, in place of any other; raises OSError, without ``replace`` FileExistsError if there is one."""
    records.write(path(run), {"v": 1, **vars(hold)}, replace)


def clear(run: str, only: Hold | None = None) -> None:
    """Lift the hold, whichever it is, or ``only`` this one if it is still there."""
    if only is not None:
        try:
            if read(run) != only:
                return
        except records.MalformedError:
            return
    records.remove(path(run))
