"""How long the commands take, as ratios to an empty Python start.

The runs are interleaved (A B C A B C …), so that a machine that slows down for a while slows all of them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from .cases import Case, cases, comfyui, helps
from .measure import Figures
from .measure import measure as measure_all
from .report import Report, load, table, versions

TURNS, QUICK_TURNS = 15, 5
"""In each round."""
HELP_TURNS, QUICK_HELP_TURNS = 3, 1
"""The same of the commands' starts, which have no bound."""
PARTS = ("comfy-supervisor", "supervisor", "pydantic", "click", "jinja2", "nvidia-ml-py")
HEADER = ("what", "median", "min-max", "times empty", "at most", "peak RSS", "at most")


def measure(rounds: int, *, quick: bool = False) -> Report:
    """Measure each command; in a quick run, a third as often."""
    before = load()
    turns = rounds * (QUICK_TURNS if quick else TURNS)
    help_turns = rounds * (QUICK_HELP_TURNS if quick else HELP_TURNS)
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-bench-") as folder:
        found = cases(Path(folder))
        measured = measure_all([case.command for case in found], turns)
        starts = helps(Path(folder))
        started = measure_all([case.command for case in starts], help_turns)
    pairs = list(zip(found, measured, strict=True))
    whose = "a real ComfyUI" if comfyui() else "the stand-in"
    how = f"{versions(*PARTS)}; {whose}; load {before} → {load()}; rounds: {turns}"
    shown = table(HEADER, (_row(case, figures, measured[0]) for case, figures in pairs))
    each = table(HEADER, (_row(case, figures, started[0]) for case, figures in zip(starts, started, strict=True)))
    text = f"{how}:\n\n{shown}\n\nThe start of each command, rounds: {help_turns}:\n\n{each}"
    return Report(text, [case.name for case, figures in pairs if case.missed(figures, measured[0])])


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
