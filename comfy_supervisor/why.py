"""Why a ComfyUI does not get going, from the end of its log."""

from __future__ import annotations

from pathlib import Path

from . import catalogue
from .catalogue import Explanation
from .launch import holds, records
from .launch.holds import Hold

_TAIL = 1 << 20
"""Bytes of a log that are read: the last life that ended badly is in there, and it is done before anybody waits."""
_OF_DEATHS = (holds.BACKOFF, holds.GAVE_UP, holds.CONFIGURATION)
"""The holds for what the lives before ended of."""


def ended(log: Path) -> Explanation | None:
    """Return why the last life in a log ended; None if that isn't known, or there is no log."""
    try:
        with log.open("rb") as stream:
            found = catalogue.explain_chunks([records.tail(stream, _TAIL)])
    except OSError:
        return None
    return None if found.cause in catalogue.TELLS_NOTHING else found


def held(hold: Hold, log: Path) -> Explanation | None:
    """Return why the life before a hold ended, where that is what it holds for; None if that isn't known."""
    found = ended(log) if hold.reason in _OF_DEATHS else None
    return found if found and hold.cause in ("", "unknown", found.cause) else None


def told(found: Explanation | None) -> tuple[str, ...]:
    """Return it in lines for a person."""
    return (f"{found.cause}: {found.explanation}", f"fix: {found.fix}") if found else ()
