"""What a line of the decision table is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from .case import Case
from .evidence import Deed, Word

_T = TypeVar("_T")
Of: TypeAlias = _T | Callable[[Case], _T]
"""A value, or what gives one for a case."""


def of(value: Of[_T], case: Case) -> _T:
    """Return the value for a case."""
    return value(case) if callable(value) else value


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    when: Callable[[Case], bool]
    word: Of[Word]
    reason: Of[str]
    cause: Of[str] = "healthy"
    deed: Of[Deed] = Deed.NOTHING
    clock: Of[float] = 0.0
    """How long the evidence has lasted …"""
    after: Of[float] = 0.0
    """… and how long it has to, in seconds."""
    early: Of[Word] = Word.SUSPECT
    """How the instance is until then, and where nothing may be done."""
    hold: Of[str] = ""
    """The reason of a hold that goes with the deed."""
    hold_seconds: Of[float | None] = None
    shared: bool = False
    """No proof that the instance itself is ill: not acted on where others look alike."""
    planned: bool = False
    """Nothing has failed: not counted, and not waited for."""
