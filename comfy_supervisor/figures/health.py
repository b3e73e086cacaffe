"""How long an instance was up, what ended it, and how soon it was back: pure, from the listener's decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from types import MappingProxyType

from ..health.gaps import Gap
from ..health.policy.evidence import ENDS, RECYCLED, Ending, Word
from .looks import Look, Process
from .numbers import Sum

UP = frozenset({Word.IDLE.value, Word.BUSY.value})
"""How an instance is whose API is well, and which nothing holds back."""
_OTHERS = {Word.STOPPED.value: "stopped", Word.BLIND.value: "unknown"}
_ENDS = frozenset(deed.value for deed in ENDS)
_HOW = frozenset({"crashed", "killed", "exited", "unknown"})
"""What is told of an end where nobody knows its cause."""
NOTHING_FOUND: Mapping[Process, str] = MappingProxyType({})
UNSEEN = "not_seen"
"""The cause of starts that the launcher has counted, and nobody saw the reason of."""


@dataclass(frozen=True)
class Times(Sum):
    """How a span of time was passed, in seconds."""

    up: float = 0.0
    down: float = 0.0
    """Starting, suspected, being restarted, held back …"""
    stopped: float = 0.0
    """Somebody wanted it so."""
    unknown: float = 0.0
    """Nobody looked, or nothing could be seen."""

    @property
    def share(self) -> float | None:
        """Which share of the time that is known it was up, 0 to 1; None: nothing is known."""
        known = self.up + self.down + self.stopped
        return self.up / known if known else None


@dataclass(frozen=True)
class Restarts(Sum):
    """What ended ComfyUI, against nobody's wish; durations in seconds."""

    causes: Counter[str] = field(default_factory=Counter)
    detected: tuple[float, ...] = ()
    """From the last sign that all was well to the decision, where it was the listener that ended it."""
    recovered: tuple[float, ...] = ()
    """From that decision, or the look that found it gone, until it was up again."""


def times(looks: Iterable[Look], gaps: Iterable[Gap], since: float, until: float) -> Times:
    """Return how the time from ``since`` to ``until`` (seconds since the epoch) was passed."""
    words = ((look.at, _kind(look.word), 0) for look in looks)
    unseen = chain.from_iterable(((gap.begin, "", 1), (gap.end, "", -1)) for gap in gaps)
    spent: Counter[str] = Counter()
    kind, blind, last = "unknown", 0, since
    for at, word, change in sorted(chain(words, unseen, [(until, "", 0)]), key=lambda event: event[0]):
        now = min(max(at, since), until)
        spent["unknown" if blind else kind] += now - last  # type: ignore[assignment]  # typeshed's Counter counts ints
        kind, blind, last = word or kind, blind + change, now
    return Times(**{name: float(spent[name]) for name in ("up", "down", "stopped", "unknown")})


def _kind(word: str) -> str:
    return "up" if word in UP else _OTHERS.get(word, "down")


@dataclass(frozen=True)
class _End:
    """One end of ComfyUI."""

    at: float
    cause: str
    detected: float | None = None


def restarts(
    looks: Sequence[Look], gaps: Sequence[Gap], since: float, found: Mapping[Process, str] = NOTHING_FOUND
) -> Restarts:
    """Return what ended ComfyUI from ``since`` on; the looks before it tell what that time began with.

    ``found``: by process, the cause that was found afterwards of an end that was none of our doing.
    """
    ends = list(_ends(looks, found))
    causes = Counter(end.cause for end in ends if end.at >= since)
    detected = tuple(end.detected for end in ends if end.at >= since and end.detected is not None)
    recovered = tuple(_recovered(looks, [end.at for end in ends if end.cause != UNSEEN and end.at >= since], gaps))
    return Restarts(causes, detected, recovered)


def _ends(looks: Sequence[Look], found: Mapping[Process, str]) -> Iterator[_End]:
    """Yield each end that nobody wished for, in order."""
    lives = seen = 0
    for number, look in enumerate(looks):
        wished = look.word == Word.STOPPED.value
        if look.deed in _ENDS:
            yield _End(look.at, look.cause, None if look.cause == RECYCLED else look.undetected)
            seen += 1
        elif look.before and look.process and look.process != look.before:
            end = _ending(islice(looks, number, None), look)
            seen += 1
            if end:
                yield _End(look.at, found.get(look.before, end) if end in _HOW else end)
        seen += wished
        if look.lives > lives > 0:
            yield from [_End(look.at, UNSEEN)] * max(0, look.lives - lives - seen)
        if look.lives != lives:
            seen = 0
        lives = look.lives or lives


def _ending(looks: Iterable[Look], died: Look) -> str | None:
    """Return the cause of an end that was none of our doing; None: somebody wished for it.

    supervisord's word may have come later than the look that found another process, but while that lived.
    """
    same = (look for look in looks if look.process == died.process)
    told = next((look for look in same if look.ending is not None), None)
    if told is None or told.ending is None:
        return "unknown"
    end = Ending(told.ending)
    if end.asked_for:
        return None
    return told.fault or _how(end)


def _how(end: Ending) -> str:
    """Return how ComfyUI ended without us: ``crashed``, ``killed`` from outside, ``exited``, or ``unknown``."""
    told = end.told
    if "from outside" in told:
        return "killed"
    if told.startswith("crashed"):
        return "crashed"
    return "exited" if told else "unknown"


def _recovered(looks: Iterable[Look], ends: Sequence[float], gaps: Sequence[Gap]) -> Iterator[float]:
    """Yield how long each outage took, in seconds; one that was cut short by a stop, or not looked at, is left out."""
    left = iter(ends)
    following = next(left, None)
    begun: float | None = None
    for look in looks:
        while following is not None and following <= look.at:
            begun = following if begun is None else begun
            following = next(left, None)
        if begun is not None and look.word in UP:
            if not any(gap.begin < look.at and gap.end > begun for gap in gaps):
                yield look.at - begun
            begun = None
        elif look.word == Word.STOPPED.value:
            begun = None
