"""Sums, medians and percentiles: pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

S = TypeVar("S", bound="Sum")
_MEDIAN, _P95 = 0.5, 0.95


class Sum:
    """Values that are added field by field."""

    def __add__(self: S, other: S) -> S:
        """Return both together."""
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in vars(self)))


@dataclass(frozen=True)
class Spread:
    """How some values are spread: of each figure, a value that occurred."""

    count: int
    median: float
    p95: float
    longest: float


def spread(values: Iterable[float]) -> Spread | None:
    """Return how values are spread, by nearest rank; None: there are none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return Spread(len(ordered), nearest(ordered, _MEDIAN), nearest(ordered, _P95), ordered[-1])


def nearest(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of some ordered values that at least this share of them, 0 to 1, does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
