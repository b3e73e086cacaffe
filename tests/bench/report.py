"""What the figures are worth: the machine and its load; and how they are shown, as Markdown."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

Row = Sequence[str]


@dataclass(frozen=True)
class Report:
    """What one part of the benchmark found."""

    text: str
    """A paragraph about how it was measured, and the tables."""
    missed: Sequence[str] = field(default_factory=tuple)
    """Bounds that were missed."""
    plots: Mapping[str, str] = field(default_factory=dict)
    """SVG by the name of its file; the text shows it as ``![what it shows](plots/NAME.svg)``."""


def table(header: Row, rows: Iterable[Row]) -> str:
    """Return a Markdown table whose columns stand one below the other."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    shown.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in shown)


def machine() -> str:
    """Return what the figures were taken on, in one line."""
    memory = psutil.virtual_memory().total / 1024**3
    system = f"{platform.system()} {platform.release()}"
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; {system}; Python {platform.python_version()}"


def versions(*parts: str) -> str:
    """Return the releases of these packages, in one line."""
    return ", ".join(f"{part} {_version(part)}" for part in parts)


def load() -> str:
    """Return how many processes wanted a core in the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def note(text: str) -> None:
    """Tell whoever waits what goes on; it is no part of the report."""
    sys.stderr.write(f"{text}\n")


def _version(part: str) -> str:
    try:
        return version(part)
    except PackageNotFoundError:
        return "(not installed)"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
