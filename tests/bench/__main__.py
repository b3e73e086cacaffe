"""``python -m tests.bench [ROUNDS]``: print the table; exit code 1 if a bound is missed.

The runs are interleaved (A B C A B C …), so that a machine that slows down for a while slows all of them.
"""

# ruff: noqa: T201  # a table on standard output is what it is for

from __future__ import annotations

import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from comfy_supervisor.cli.common import print_table

from .cases import Case, cases, comfyui
from .measure import Figures, measure

ROUNDS = 15
PARTS = ("comfy-supervisor", "supervisor", "pydantic", "click", "jinja2", "nvidia-ml-py")
HEADER = ("what", "median", "min-max", "times empty", "at most", "peak RSS", "at most")


def main() -> int:
    """Measure, print, judge."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-bench-") as folder:
        found = cases(Path(folder))
        measured = measure([case.command for case in found], rounds)
    print(f"{_versions()}; ComfyUI: {comfyui() or 'the stand-in'}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {rounds} rounds\n")
    print_table(HEADER, (_row(case, figures, measured[0]) for case, figures in zip(found, measured, strict=True)))
    missed = [case.name for case, figures in zip(found, measured, strict=True) if case.missed(figures, measured[0])]
    for name in missed:
        print(f"bound missed: {name}")
    return int(bool(missed))


def _versions() -> str:
    parts = ", ".join(f"{part} {version(part)}" for part in PARTS)
    return f"Python {platform.python_version()}, {parts}"


def _row(case: Case, figures: Figures, empty: Figures) -> tuple[str, ...]:
    return (
        case.name,
        f"{figures.median * 1000:.0f} ms",
        f"{min(figures.seconds) * 1000:.0f}-{max(figures.seconds) * 1000:.0f} ms",
        f"{figures.median / empty.median:.1f}",
        str(case.most_times or ""),
        f"{figures.peak_mib:.0f} MiB",
        f"{case.most_mib} MiB" if case.most_mib else "",
    )


if __name__ == "__main__":
    sys.exit(main())
