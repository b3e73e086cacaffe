"""The most VRAM that was in use for a while, by samples."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from .. import gpu
from ..bounded import Client
from .ask import ask
from .device import MIB

NVML = "NVML"
STATS = "/system_stats"
PERIODS = {NVML: 0.5, STATS: 0.25}
"""Seconds between two samples: NVML's each cost a helper process, ComfyUI's own a moment of its event loop."""

Sample = Callable[[], tuple[int, int] | None]
"""Returns how many MiB are in use, and of how many; None: can't be told."""


@dataclass(frozen=True)
class Peak:
    """The most that was in use, in MiB, by everything that uses the GPU."""

    used_mib: int
    before_mib: int
    """At the first sample."""
    total_mib: int
    samples: int
    source: str
    """Who told it: NVML, or ComfyUI's /system_stats."""

    @property
    def told(self) -> str:
        """It in words."""
        by = f"{self.samples} samples, by {self.source}"
        return f"peak VRAM {self.used_mib} of {self.total_mib} MiB ({self.before_mib} before; {by})"


class Watch:
    """Takes samples on a thread of its own while it is entered."""

    def __init__(self, source: str, sample: Sample) -> None:
        """Keep whom to ask; takes no sample yet."""
        self._source, self._sample = source, sample
        self._taken: list[tuple[int, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        """Take the first sample, and go on."""
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the last one."""
        self._over.set()
        self._thread.join()
        self._take()

    @property
    def peak(self) -> Peak | None:
        """The most that was seen; None: nothing could be told."""
        if not self._taken:
            return None
        used = [used for used, _ in self._taken]
        return Peak(max(used), used[0], self._taken[-1][1], len(used), self._source)

    def _watch(self) -> None:
        while not self._over.wait(PERIODS[self._source]):
            self._take()

    def _take(self) -> None:
        taken = self._sample()
        if taken:
            self._taken.append(taken)


def watch(url: str, uuid: str) -> Watch:
    """Return what watches the GPU of this UUID, by NVML; without one, what ComfyUI's API tells of its device."""
    return Watch(NVML, lambda: _by_nvml(uuid)) if uuid else Watch(STATS, lambda: _by_comfyui(url))


def _by_nvml(uuid: str) -> tuple[int, int] | None:
    use = gpu.use().get(uuid)
    return (use.memory_used_mib, use.memory_total_mib) if use else None


def _by_comfyui(url: str) -> tuple[int, int] | None:
    client = Client(url)
    stats = ask(client, "/system_stats").value
    client.close()
    try:
        device = stats["devices"][0]
        total, free = int(device["vram_total"]) // MIB, int(device["vram_free"]) // MIB
        return None if device["type"] == "cpu" else (total - free, total)
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
