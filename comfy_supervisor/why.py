"""Why a ComfyUI does not get going, from the end of its log and what supervisord says of its end."""

from __future__ import annotations

from pathlib import Path

from . import catalogue
from .catalogue import Explanation
from .launch import holds, lastword, records
from .launch.holds import Hold

_TAIL = 1 << 20
"""Bytes of a log that are read: the last life that ended badly is in there, and it is done before anybody waits."""
_OF_DEATHS = (holds.BACKOFF, holds.GAVE_UP, holds.CONFIGURATION)
"""The holds for what the lives before ended of."""


def ended(log: Path, ending: str = "") -> Explanation | None:
    """Return why the last life in a log ended; None if that isn't known, or somebody asked for it.

    ``ending``: how it ended, in supervisord's words, which may stand in a longer text.
    """
    if ending.startswith("stopped: "):
        return None
    code, number = lastword.how(ending)
    try:
        with log.open("rb") as stream:
            text = lastword.without_next(records.tail(stream, _TAIL).decode(errors="replace"))
    except OSError:
        return None
    found = catalogue.explain_chunks([text.encode()], exit_code=code, signal=number)
    return found if catalogue.ends(found.cause) else None


def died(log: Path, url: str, program: str, pid: int = 0) -> Explanation | None:
    """Return the same of a program's process, by default the one that ended last; ``url``: where supervisord answers.

    Takes up to two seconds where that doesn't answer.
    """
    return ended(log, lastword.ending(url, program.rpartition(":")[2], pid))


def held(hold: Hold, log: Path, url: str, program: str) -> Explanation | None:
    """Return why the life before a hold ended, where that is what it holds for; None if that isn't known."""
    if hold.reason not in _OF_DEATHS:
        return None
    in_text = any(each is not None for each in lastword.how(hold.text))
    found = ended(log, hold.text) if in_text else died(log, url, program)
    return found if found and hold.cause in ("", "unknown", found.cause) else None


def told(found: Explanation | None) -> tuple[str, ...]:
    """Return it in lines for a person."""
    return (f"{found.cause}: {found.explanation}", f"fix: {found.fix}") if found else ()
