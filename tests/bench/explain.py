"""What it takes to explain a log of 1 to 100 MiB, beside what it takes grep to look for three words in it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from itertools import count, repeat
from pathlib import Path

from tests.catalogue.logs_kept import LOGS
from tests.catalogue.test_explain import CAUGHT, ERROR, TRACE

from .measure import Command, Figures
from .measure import measure as measure_all
from .report import Report, load, table

SIZE = 100 << 20
"""Bytes of a log of each kind."""
SMALLER = (1 << 20, 10 << 20)
"""Bytes of further ones of the first kind."""
TURNS = 5
"""In each round."""
MOST_SECONDS = 3.0
MOST_MIB = 100
DISTINCT = {
    "different errors": ERROR,
    "different jobs that fail": TRACE,
    "different tracebacks": CAUGHT,
}
HEADER = ("a log of", "explain", "min-max", "at most", "grep", "times grep", "peak RSS", "at most")


def measure(rounds: int) -> Report:
    """Measure each kind of log."""
    before = load()
    ours = str(Path(sys.executable).with_name("comfy-supervisor"))
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-bench-") as folder:
        logs = _logs(Path(folder))
        asked: list[tuple[str, ...]] = [
            ("grep", "-a", "-E", "-c", "Killed|CUDA error|No space left", str(file)) for file in logs.values()
        ]
        asked += [(ours, "explain", "--json", str(file)) for file in logs.values()]
        commands = [Command(("/bin/sh", "-c", '"$@" || true', "sh", *argv), os.environ, Path(folder)) for argv in asked]
        found = measure_all(commands, TURNS * rounds)
    pairs = list(zip(logs, found[: len(logs)], found[len(logs) :], strict=True))
    shown = table(HEADER, (_row(*pair) for pair in pairs))
    missed = [
        f"explain: {name}" for name, _, taken in pairs if taken.median > MOST_SECONDS or taken.peak_mib > MOST_MIB
    ]
    how = f"The whole command; grep -E looks for three words. Load {before} → {load()}; rounds: {TURNS * rounds}"
    return Report(f"{how}:\n\n{shown}", missed)


def _logs(folder: Path) -> Mapping[str, Path]:
    """Return logs: a real one's jobs, random bytes, a failure again and again, no failure twice, and one line."""
    boot, end, jobs = (LOGS / "healthy" / "0.33.0-jobs.log").read_bytes().partition(b"got prompt")
    failure = (LOGS / "cuda_poisoned" / "written-illegal-access.log").read_bytes().partition(b"got prompt")
    units = {
        "a real ComfyUI's jobs": (boot, end + jobs),
        "random bytes": (b"", os.urandom(1 << 20)),
        "jobs that fail": (failure[0], failure[1] + failure[2]),
        "a single line": (boot, b"x" * (1 << 20)),
    }
    logs = {
        f"{size >> 20} MiB of a real ComfyUI's jobs": _file(folder / str(size), boot, repeat(end + jobs), size)
        for size in SMALLER
    }
    logs |= {
        f"100 MiB of {name}": _file(folder / str(number), head, repeat(unit))
        for number, (name, (head, unit)) in enumerate(units.items())
    }
    for name, text in DISTINCT.items():
        logs[f"100 MiB of {name}"] = _file(folder / name.replace(" ", "-"), boot, _distinct(text))
    return logs


def _distinct(text: str) -> Iterator[bytes]:
    """Yield a text with numbers in it that are never the same twice, a thousand times at once."""
    for begin in count(0, 1000):
        yield "".join(text.format(n=n, m=n * 2654435761 % 2**32) for n in range(begin, begin + 1000)).encode()


def _file(file: Path, head: bytes, units: Iterator[bytes], size: int = SIZE) -> Path:
    with file.open("wb") as stream:
        stream.write(head)
        while stream.tell() < size:
            stream.write(next(units))
    return file


def _row(name: str, grep: Figures, ours: Figures) -> tuple[str, ...]:
    return (
        name,
        f"{ours.median:.2f} s",
        f"{min(ours.seconds):.2f}-{max(ours.seconds):.2f} s",
        f"{MOST_SECONDS:.0f} s",
        f"{grep.median:.2f} s",
        f"{ours.median / grep.median:.1f}",
        f"{ours.peak_mib:.0f} MiB",
        f"{MOST_MIB} MiB",
    )
