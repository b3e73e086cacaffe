"""``python -m tests.proof [PART…]``: prove what is promised, and write docs/reliability.md and docs/benchmarks.md.

A document's name stands for all its parts. Exit code 1 if a bound is missed. A quick run writes into build/proof/quick
instead, as a rehearsal.
"""

# ruff: noqa: T201  # a report on standard output is what it is for

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from tests.bench.report import Report, machine, note, versions

from . import results
from .parts import PARTS
from .plan import Part, Plan

KEPT = results.ROOT / "build" / "proof"
_WHAT_RUNS = ("comfy-supervisor", "supervisor", "superlance")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for, and write down what they found."""
    asked = _asked(argv)
    plan = Plan(asked.quick, asked.repeat or (1 if asked.quick else 3), asked.seed, asked.minutes)
    folder = KEPT / ("quick" if plan.quick else "full")
    missed = [bound for part in _chosen(asked) for bound in _run(part, plan).missed]
    for file in results.write(PARTS, folder, folder if plan.quick else results.ROOT / "docs"):
        note(f"wrote {file}")
    for bound in missed:
        note(f"bound missed: {bound}")
    return int(bool(missed))


def _asked(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proof")
    names = [*(part.name for part in PARTS), *results.INTRODUCTIONS]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(names)}; without any: all of them")
    parser.add_argument("--quick", action="store_true", help="minutes, not an hour")
    parser.add_argument("--repeat", type=int, default=0, help="how often each fault is tried")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the soak takes")
    asked = parser.parse_args(argv)
    unknown = [name for name in asked.parts if name not in names]
    if unknown:
        parser.error(f"{unknown[0]}: no such part; there are {', '.join(names)}")
    return asked


def _chosen(asked: argparse.Namespace) -> list[Part]:
    return [part for part in PARTS if part.name in asked.parts or (not part.apart and _is_wanted(part, asked))]


def _is_wanted(part: Part, asked: argparse.Namespace) -> bool:
    return part.document in asked.parts if asked.parts else part.in_quick or not asked.quick


def _run(part: Part, plan: Plan) -> Report:
    """Run one part, print what it found, and keep it."""
    note(f"== {part.name}")
    began = time.monotonic()
    report = part.run(plan)
    seconds = time.monotonic() - began
    print(f"\n## {part.title}\n\n{report.text}\n\n({seconds / 60:.1f} min)", flush=True)
    command = results.command(part, plan, os.environ.get("COMFYUI_DIR", ""))
    where = results.circumstances(command, plan.seed, seconds, machine(), versions(*_WHAT_RUNS))
    folder = KEPT / ("quick" if plan.quick else "full")
    results.keep(results.Result(part.name, report.text, list(report.missed), dict(report.plots), where), folder)
    return report


if __name__ == "__main__":
    sys.exit(main())
