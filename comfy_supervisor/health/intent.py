"""``intent.json``: what the listener is about to do to an instance, written before it is done.

A listener that is killed in the middle leaves it behind, and the next one finishes it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import codec
from ..launch import records
from .policy.evidence import Life


@dataclass(frozen=True)
class Intent:
    """The end of one life."""

    action: str
    """``restart``; ``kill``: without asking first."""
    life: Life
    boot_id: str
    at: float
    """CLOCK_MONOTONIC of this boot."""
    step: str = "decided"
    """``decided``, then ``asked`` (SIGINT was sent), then ``killed``."""
    by: str = "listener"
    reason: str = ""
    cause: str = "unknown"
    word: str = ""
    deed: str = ""
    hold: str = ""
    """The hold that was put up with it; empty: none."""


def path(state: str) -> str:
    """Return where the intent for the instance with this state folder lies."""
    return f"{state}/intent.json"


def write(state: str, intent: Intent) -> None:
    """Note what is about to be done; raises OSError."""
    records.write(path(state), {"v": 1, **codec.plain(intent)})


def read(state: str, boot_id: str) -> Intent | None:
    """Return what was about to be done in this boot; None if nothing was, or that makes no sense."""
    try:
        record = records.read(path(state))
        found = codec.understood(Intent, record) if record else None
    except (records.MalformedError, codec.MalformedError):
        records.set_aside(path(state))
        return None
    return found if found and found.boot_id == boot_id else None


def clear(state: str) -> None:
    """Forget it: it is done, or there is nothing left to do."""
    records.remove(path(state))
