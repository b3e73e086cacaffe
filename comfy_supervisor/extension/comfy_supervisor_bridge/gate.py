"""Whether the worker may take another job: an operator's pause, or a poisoned GPU."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

PAUSE = "pause.json"
"""In the instance's run folder: while it is there, no further job is begun."""
LONGEST = 120.0
"""Seconds for which a poisoned GPU holds jobs back: by then somebody would have restarted ComfyUI."""
LOOK = 0.5
"""Seconds between two looks at the pause's file, while one is on."""


@dataclass
class Gate:
    """Between jobs."""

    run: str
    poisoned: float | None = None
    """When a job ended with an error after which every use of the GPU fails; CLOCK_MONOTONIC."""

    @property
    def held(self) -> str:
        """Why no job is taken: ``poisoned``, ``paused``; empty: one may be."""
        if self.poisoned is not None and time.monotonic() - self.poisoned < LONGEST:
            return "poisoned"
        return "paused" if Path(self.run, PAUSE).exists() else ""

    def poison(self) -> bool:
        """Hold the jobs back from now on; return whether this was the first reason to."""
        first = self.poisoned is None
        if first:
            self.poisoned = time.monotonic()
        return first
