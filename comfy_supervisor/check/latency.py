"""How quickly the API answers."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..bounded import Client
from .ask import ask
from .line import Line, fails, holds

ITEM = "api"
PATHS = ("/prompt", "/queue", "/system_stats")
"""The light ones. The queue holds each waiting job's graph, and is as light as these are few."""
LIMIT = 0.1
"""Seconds that 95 of 100 answers have to keep below."""
COUNT = 25
"""Questions of each, one after the other."""
PATIENCE = 3.0
"""Seconds after which an endpoint is not asked any further: what is slow is not to be made slower."""
_MEND = (
    "GET /queue grows with the graphs that wait; else a node that holds Python's lock, or a machine that is short of "
    "CPU or memory: comfy-supervisor status, top"
)


@dataclass(frozen=True)
class Latency:
    """What an endpoint's answers took."""

    path: str
    seconds: tuple[float, ...]
    trouble: str = ""
    """Why it was given up."""

    def quantile(self, share: float) -> float:
        """Return the smallest of the times within which at least this share of the answers came (nearest rank)."""
        ordered = sorted(self.seconds)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def measure(url: str) -> tuple[Latency, ...]:
    """Ask each endpoint of an API, over one connection that is kept as a backend would keep it."""
    client = Client(url)
    try:
        return tuple(_measured(client, path) for path in PATHS)
    finally:
        client.close()


def _measured(client: Client, path: str) -> Latency:
    seconds: list[float] = []
    end = time.monotonic() + PATIENCE
    while len(seconds) < COUNT and (not seconds or time.monotonic() < end):
        answer = ask(client, path)
        if answer.trouble:
            return Latency(path, tuple(seconds), answer.trouble)
        seconds.append(answer.seconds)
    return Latency(path, tuple(seconds))


def judge(found: Sequence[Latency], jobs: int | None) -> Line:
    """Say whether the API is quick; ``jobs``: how many run or wait."""
    figures = {each.path: _figures(each) for each in found}
    broken = [f"{each.path}: {each.trouble}" for each in found if each.trouble]
    if broken:
        return fails(ITEM, "; ".join(broken), "comfy-supervisor status, logs", figures=figures)
    counts = {len(each.seconds) for each in found}
    asked = f"p50/p95 of {min(counts)}" if len(counts) == 1 else "p50/p95"
    told = ", ".join(f"{each.path} {_ms(each.quantile(0.5))}/{_ms(each.quantile(0.95))}" for each in found)
    busy = f", with {jobs} job{'s' * (jobs != 1)} running or waiting" if jobs else ""
    text = f"{asked}: {told} ms{busy}"
    if max(each.quantile(0.95) for each in found) < LIMIT:
        return holds(ITEM, text, figures=figures)
    return fails(ITEM, text, _MEND, figures=figures)


def _figures(found: Latency) -> dict[str, float | int | None]:
    quantiles = [round(1000 * found.quantile(share), 3) if found.seconds else None for share in (0.5, 0.95)]
    return {"requests": len(found.seconds), "p50_ms": quantiles[0], "p95_ms": quantiles[1]}


def _ms(seconds: float) -> str:
    """Return seconds in milliseconds, as exactly as they matter."""
    return f"{1000 * seconds:.1f}" if seconds < LIMIT / 10 else f"{1000 * seconds:.0f}"
