"""``heartbeat.json``, anew each second: what only ComfyUI's own process can tell.

It goes stale when the interpreter's lock is held, and that tells something, too.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .guard import guarded
from .hooks import Hooks
from .life import Life

FILE = "heartbeat.json"
"""In the instance's run folder."""
EVERY = 1.0
"""Seconds."""


class Heart:
    """Beats on a thread of its own, for as long as the process lives."""

    def __init__(self, run: str, life: Life, hooks: Hooks, loop: Any, stack_signal: str) -> None:
        """Keep what is needed; ``start`` begins. ``loop`` is ComfyUI's event loop."""
        self._file = Path(run, FILE)
        self._life = life
        self._hooks = hooks
        self._loop = loop
        self._stack_signal = stack_signal
        self._asked: float | None = None
        """When the event loop was asked for a sign of life, which is still to come."""
        self._lag = 0.0

    def start(self) -> None:
        """Begin to beat."""
        threading.Thread(target=self._run, name="comfy-supervisor", daemon=True).start()

    def _run(self) -> None:
        while True:
            guarded("journal", self._tend)
            guarded("heartbeat", lambda: self._beat(time.monotonic()))
            time.sleep(EVERY)

    def _tend(self) -> None:
        if self._hooks.left:
            self._hooks.journal.hand_over()
            return
        if not self._hooks.journal.is_ours():
            self._hooks.take_stock()
        self._hooks.journal.settle()

    def _beat(self, now: float) -> None:
        temporary = self._file.with_suffix(f".{self._life.pid}.tmp")
        with suppress(OSError):
            self._file.parent.mkdir(0o700, exist_ok=True)  # somebody may have tidied up; where we may not, it stays so
        temporary.write_text(json.dumps(self._told(now)), encoding="utf-8")
        temporary.replace(self._file)

    def _told(self, now: float) -> dict[str, Any]:
        progress, queue = self._hooks.progress, self._hooks.queue
        point = progress.point
        return {
            "v": 1,
            "life": self._life.token,
            "boot": self._life.boot,
            "pid": self._life.pid,
            "at": now,
            "worker": progress.worker_state,
            "held": self._hooks.held,
            "prompt_id": point.prompt_id,
            "node": point.node,
            "class_type": point.class_type,
            "classes": progress.classes,
            "step": point.step,
            "total": point.total,
            "progress_at": progress.at,
            "loop_lag": self._loop_lag(now),
            "queue": [len(queue.currently_running), len(queue.queue)],
            "stack_signal": self._stack_signal,
            "journal": self._journal,
        }

    @property
    def _journal(self) -> str:
        """How the jobs are written down: ``ok``, ``degraded`` (not all are), or ``left`` (the listener does it)."""
        if self._hooks.journal.handed_over:
            return "left"
        return "ok" if self._hooks.journal.ok and not self._hooks.left else "degraded"

    def _loop_lag(self, now: float) -> float:
        """Return for how many seconds the event loop has not come round, or took to do so last."""
        if self._asked is not None:
            return now - self._asked
        if self._loop is None or not self._loop.is_running():
            return 0.0
        self._asked = now
        self._loop.call_soon_threadsafe(self._answer)
        return self._lag

    def _answer(self) -> None:
        if self._asked is not None:
            self._lag, self._asked = time.monotonic() - self._asked, None
