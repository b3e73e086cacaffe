"""What a fault is, what is expected of it, what was seen, and whether that is the same. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ward import Ward

STATES = ("idle", "running")
"""What ComfyUI does when the fault strikes."""


@dataclass(frozen=True)
class Expected:
    """What is to come of a fault."""

    says: str
    """In words: R is one restart, N none, A an alert."""
    lives: int = 0
    """New processes that are right; each more is a false restart."""
    causes: tuple[str, ...] | None = ()
    """Of the restarts that are the listener's, in order; others are supervisord's or an operator's. None: any."""
    alerts: tuple[str, ...] = ()
    """Causes that are alerted, at least."""
    words: tuple[str, ...] = ()
    """How the listener finds it in between, at least."""
    final: str = "IDLE"
    """How it finds it in the end."""
    troubled: bool = False
    """Whether the listener may have errors of its own."""


@dataclass
class Seen:
    """What was seen of a fault, in seconds since it struck."""

    state: str = ""
    """Which of STATES it was."""
    lives: list[float] = field(default_factory=list)
    """When each new process was there."""
    answered: float | None = None
    """When a new process answered first."""
    detected: float | None = None
    """When the listener took the first decision about it."""
    causes: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    final: str = ""
    jobs: int = 0
    """Honest ones that were queued."""
    lost: int = 0
    """Of them those that were never done."""
    twice: int = 0
    """Of them those that were done more than once."""
    complaints: list[str] = field(default_factory=list)
    """What else was not as it has to be, each a sentence."""
    not_tried: str = ""
    """Why it could not be caused here."""


@dataclass(frozen=True, eq=False)
class Fault:
    """One thing that goes wrong, or only seems to, and what is to come of it."""

    number: int
    name: str
    expected: Expected
    cause: Callable[[Ward], None]
    """Causes it, sees to what has to be seen while it lasts, and ends it if it ends."""
    states: tuple[str, ...] = STATES
    settings: Mapping[str, Mapping[str, Any]] | None = None
    """Of a ward of its own; None: it may have the one that others had before."""
    prepare: Callable[[Ward], None] | None = None
    """What is done to a ward of its own before that is started."""
    alone: bool = False
    """It takes a whole core."""
    quick: bool = True
    """Whether a quick run has it."""


def false_restarts(expected: Expected, seen: Seen) -> int:
    """Return how many new processes there were that nobody needed."""
    return max(0, len(seen.lives) - expected.lives)


def judge(expected: Expected, seen: Seen) -> list[str]:
    """Return how what was seen differs from what was expected, each a sentence; none: it is as expected."""
    wrong = [] if len(seen.lives) == expected.lives else [f"{len(seen.lives)} new processes, not {expected.lives}"]
    if expected.causes is not None and seen.causes != expected.causes:
        wrong.append(f"restarted for {_listed(seen.causes)}, not for {_listed(expected.causes)}")
    wrong += [f"{cause} was not alerted" for cause in expected.alerts if cause not in seen.alerts]
    wrong += [f"never {word}" for word in expected.words if word not in seen.words]
    if seen.final != expected.final:
        wrong.append(f"{seen.final or 'nothing'} in the end, not {expected.final}")
    if seen.lost:
        wrong.append(f"{seen.lost} of {seen.jobs} jobs lost")
    if seen.twice > len(seen.lives):
        wrong.append(f"{seen.twice} jobs done twice in {len(seen.lives) + 1} lives")
    return wrong + seen.complaints


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words) or "nothing"
