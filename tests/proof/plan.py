"""How much is asked of a run, and which parts it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.report import Report


@dataclass(frozen=True)
class Plan:
    """How much a run is to do, and by which chance."""

    quick: bool = False
    """Minutes rather than an hour: fewer rounds, shorter times."""
    repeat: int = 3
    """How often what depends on chance or on the machine's mood is done."""
    seed: int = 1
    """What every random choice comes from."""
    minutes: float = 10.0
    """How long the soak takes."""


@dataclass(frozen=True)
class Part:
    """One thing that is proved, and the document that it stands in."""

    name: str
    document: str
    title: str
    run: Callable[[Plan], Report]
    in_quick: bool = True
    """Whether a quick run has it, too."""
    apart: bool = False
    """Whether only who names it runs it."""
