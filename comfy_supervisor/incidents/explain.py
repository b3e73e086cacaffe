"""What the catalogue says of a cause, and of a log: as incidents keep it."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from .. import catalogue
from ..launch import lastword
from .incident import Explained

_MOST_EVIDENCE = 3
_LONGEST = 300


def of_cause(cause: str) -> Explained:
    """Return the catalogue's entry for a cause; of one that it doesn't have, that it is not known."""
    entry = catalogue.entry(cause)
    return Explained(cause, entry.explanation, entry.fix)


def of_log(lines: Sequence[str], ending: str) -> tuple[Explained, tuple[tuple[str, str], ...]]:
    """Return what a log, and the way in which its process ended, say; and what the log names: a module, a port …"""
    code, number = lastword.how(ending)
    found = catalogue.explain((line.encode() for line in lines), exit_code=code, signal=number)
    evidence = [lines[at - 1].strip()[:_LONGEST] for at in found.evidence[:_MOST_EVIDENCE] if 0 < at <= len(lines)]
    cause, also = found.cause, found.also_possible
    if number == signal.SIGKILL and not evidence:  # the kernel's OOM killer sends it, and so does a person
        cause, also = "unknown", (found.cause, *also)
    told = Explained(cause, found.explanation, found.fix, found.confidence, tuple(evidence), also)
    return told, tuple(found.details.items())
