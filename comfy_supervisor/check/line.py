"""A line of the checklist. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Figures = Mapping[str, Any]


class Verdict(str, Enum):
    """Whether what an item promises is so."""

    HOLDS = "holds"
    FAILS = "fails"
    UNKNOWN = "unknown"
    """It can't be told from here."""


@dataclass(frozen=True)
class Line:
    """One item, as it was found."""

    item: str
    """One of a fixed set of words, for programs to go by."""
    verdict: Verdict
    found: str
    mend: str = ""
    """What to do; empty where nothing is to be done."""
    figures: Figures = field(default_factory=dict)
    """What was measured, for programs."""


def holds(item: str, found: str, mend: str = "", figures: Figures | None = None) -> Line:
    """Return that it is so; ``mend``: what could be better still."""
    return Line(item, Verdict.HOLDS, found, mend, figures or {})


def fails(item: str, found: str, mend: str, figures: Figures | None = None) -> Line:
    """Return that it is not so."""
    return Line(item, Verdict.FAILS, found, mend, figures or {})


def unknown(item: str, found: str, mend: str, figures: Figures | None = None) -> Line:
    """Return that it can't be told from here; ``mend``: how to find out."""
    return Line(item, Verdict.UNKNOWN, found, mend, figures or {})
