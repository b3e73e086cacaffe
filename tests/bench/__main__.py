"""``python -m tests.bench [ROUNDS]``: print the table; exit code 1 if a bound is missed.

The runs are interleaved (A B C A B C …), so that a machine that slows down for a while slows all of them.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .cases import Case, cases, comfyui
from .measure import Figures, measure

ROUNDS = 15
PARTS = ("comfy-supervisor", "supervisor", "pydantic", "click", "jinja2", "nvidia-ml-py")


def main() -> int:
    """Measure, print, judge."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-bench-") as folder:
        found = cases(Path(folder))
        measured = measure([case.command for case in found], rounds)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"{_versions()}; ComfyUI: {comfyui() or 'the stand-in'}", highlight=False, soft_wrap=True)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {rounds} rounds", highlight=False)
    console.print(_table(found, measured))
    missed = [case.name for case, figures in zip(found, measured, strict=True) if case.missed(figures, measured[0])]
    for name in missed:
        console.print(f"bound missed: {name}", style="bold red")
    return int(bool(missed))


def _versions() -> str:
    parts = ", ".join(f"{part} {version(part)}" for part in PARTS)
    return f"Python {platform.python_version()}, {parts}"


def _table(found: list[Case], measured: list[Figures]) -> Table:
    """Return the table; the first case is what the others are compared with."""
    table = Table(box=None, pad_edge=False)
    table.add_column("what", no_wrap=True)
    for title in ("median", "min-max", "times empty start", "at most", "peak RSS", "at most"):
        table.add_column(title, justify="right", no_wrap=True)
    for case, figures in zip(found, measured, strict=True):
        table.add_row(
            case.name,
            f"{figures.median * 1000:.0f} ms",
            f"{min(figures.seconds) * 1000:.0f}-{max(figures.seconds) * 1000:.0f} ms",
            f"{figures.median / measured[0].median:.1f}",
            f"{case.most_times}" if case.most_times else "",
            f"{figures.peak_mib:.0f} MiB",
            f"{case.most_mib} MiB" if case.most_mib else "",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
