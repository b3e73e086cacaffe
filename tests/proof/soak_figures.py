"""What our processes and the state folder take while the soak goes on, and whether that grows."""

from __future__ import annotations

import statistics
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.fleet import keepers
from tests.cli.service import Service

EVERY = 1.0
"""Seconds between two looks."""
WARM_UP = 0.25
"""The share of the time that is left out at first."""
_MIB = 1024 * 1024
_OTHERS = {"logs", "incidents", "output"}
"""Folders that are bounded otherwise: supervisord turns logs over, the oldest incidents are removed, and what ComfyUI
puts out is its user's."""
_AHEAD = ".sqlite-wal"
TOLERANCES = {"longest write-ahead log, MiB": 4.5, "MiB": 3.0, "descriptors": 8.0, "threads": 4.0, "files": 8.0}
"""What the median may grow by between the first third and the last: a hand at work for each instance, with its
connection and its file, is no growth; nor is a journal's write-ahead log, which SQLite begins anew at 1000 pages."""


@dataclass(frozen=True)
class Growth:
    """How one figure went: the medians of the first third and of the last, after the warm-up."""

    figure: str
    first: float
    last: float
    tolerance: float

    @property
    def flat(self) -> bool:
        """Whether it has not grown by more than is tolerated."""
        return self.last - self.first <= self.tolerance


def growth(figure: str, series: Sequence[float]) -> Growth:
    """Compare a figure's beginning and end; its name ends in its unit."""
    warm = series[int(len(series) * WARM_UP) :]
    third = max(1, len(warm) // 3)
    tolerance = next(tolerance for unit, tolerance in TOLERANCES.items() if figure.endswith(unit))
    return Growth(figure, statistics.median(warm[:third]), statistics.median(warm[-third:]), tolerance)


class Watcher(threading.Thread):
    """Looks again and again, until it is told to end."""

    def __init__(self, service: Service) -> None:
        """Begin at once."""
        super().__init__(daemon=True)
        self.service = service
        self.series: dict[str, list[float]] = defaultdict(list)
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        """Look; a process that dies meanwhile is looked at the next time."""
        while not self.over.wait(EVERY):
            with suppress(psutil.Error, OSError, ValueError):
                self._look()

    def end(self) -> list[Growth]:
        """Return how everything went."""
        self.over.set()
        self.join()
        return [growth(figure, series) for figure, series in self.series.items()]

    def _look(self) -> None:
        listener, helper = keepers(self.service)
        supervisord = psutil.Process(self.service.supervisord_pid())
        for name, process in (("listener", listener), ("GPU helper", helper), ("supervisord", supervisord)):
            figures = (process.memory_info().rss / _MIB, process.num_fds(), process.num_threads())
            for unit, figure in zip(("MiB", "descriptors", "threads"), figures, strict=True):
                self.series[f"{name}, {unit}"].append(figure)
        sizes = _sizes(self.service.state)
        ahead = [size for name, size in sizes.items() if name.endswith(_AHEAD)]
        self.series["state folder, files"].append(len(sizes))
        self.series["longest write-ahead log, MiB"].append(max(ahead, default=0) / _MIB)
        self.series["state folder without those logs, MiB"].append((sum(sizes.values()) - sum(ahead)) / _MIB)


def _sizes(state: Path) -> dict[str, int]:
    """Return the bytes of each of the state folder's files, but for those that are bounded otherwise."""
    sizes = {}
    for file in state.rglob("*"):
        with suppress(FileNotFoundError):
            if file.is_file() and not _OTHERS & set(file.relative_to(state).parts):
                sizes[str(file)] = file.stat().st_size
    return sizes
