"""Who writes to the disk for ComfyUI's threads: in order, and however long the disk takes, nobody waits for long."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from .guard import guarded

PATIENCE = 2.0
"""Seconds for which anybody waits for the disk."""
MOST = 10_000
"""Deeds that may be left to do: what comes then is left out."""


class Writer:
    """One thread, and what is left for it to do."""

    def __init__(self) -> None:
        """Make it; its thread begins with the first deed."""
        self._deeds: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._begun = threading.Lock()
        self.late = False
        """Whether somebody has waited in vain for what is still being done: nobody does any more."""

    def do(self, deed: Callable[[], None]) -> bool:
        """Have something done after all that was asked for before; return whether it has been, or is going to be."""
        if self._deeds.qsize() >= MOST:
            return False
        done = threading.Event()
        self._deeds.put((deed, done))
        if self._begun.acquire(blocking=False):
            threading.Thread(target=self._run, name="comfy-supervisor-journal", daemon=True).start()
        if not self.late and not done.wait(PATIENCE):
            self.late = not done.is_set()
        return True

    def _run(self) -> None:
        while True:
            deed, done = self._deeds.get()
            guarded("journal, on its thread", deed)
            done.set()
            if self._deeds.empty():
                self.late = False
