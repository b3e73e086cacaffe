"""``python -m tests.bench [PART…]``: print the figures as Markdown; exit code 1 if a bound is missed.

``make bench ARGS=commands`` takes seconds, all of it about a quarter of an hour. docs/benchmarks.md is what a run has
printed.
"""

# ruff: noqa: T201  # a report on standard output is what it is for

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from . import commands, cost, explain, jobs, latency, peer
from .report import Report, machine, note

PARTS: Mapping[str, tuple[str, Callable[[int], Report]]] = {
    "commands": ("The commands, as ratios to an empty Python start", commands.measure),
    "peer": ("Beside superlance's httpok", peer.measure),
    "cost": ("What the listener costs", cost.measure),
    "latency": ("What the probes cost ComfyUI's clients", latency.measure),
    "jobs": ("What it costs to lose no job", jobs.measure),
    "explain": ("Explaining a log", explain.measure),
}
INTRODUCTION = """\
# Benchmarks

As `make bench` printed them: times on one machine, next to other work (its load is said), are worth their ratios. No
part of the tests, which depend on no clock."""


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; without any: all of them")
    parser.add_argument("--rounds", type=int, default=1, help="how often commands and peer are measured")
    asked = parser.parse_args()
    unknown = [part for part in asked.parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]}: no such part; there are {', '.join(PARTS)}")
    print(f"{INTRODUCTION}\n\n{machine()}.", flush=True)
    missed = [bound for part in asked.parts or PARTS for bound in _print(part, asked.rounds)]
    for bound in missed:
        note(f"bound missed: {bound}")
    return int(bool(missed))


def _print(part: str, rounds: int) -> list[str]:
    """Measure and print a part; return the bounds that it missed."""
    title, measure = PARTS[part]
    report = measure(rounds)
    print(f"\n## {title}\n\n{report.text}", flush=True)
    return list(report.missed)


if __name__ == "__main__":
    sys.exit(main())
