"""What ComfyUI's own process tells of its work, where our extension is loaded: each second, in a file."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ... import codec
from ...extension.comfy_supervisor_bridge import heartbeat
from ...launch import records
from ..policy.evidence import Life

EVERY = heartbeat.EVERY
"""Seconds between two beats."""
FRESH = 5.0
"""Seconds from which a beat is old: the process is stopped, or the interpreter's lock is held."""


@dataclass(frozen=True)
class Heartbeat:
    """One beat, as the extension writes it; times in seconds of CLOCK_MONOTONIC."""

    boot: str
    pid: int
    at: float
    worker: str
    """``unseen``, ``alive`` or ``dead``."""
    held: str = ""
    """Why no further job is begun: ``paused``, ``poisoned``; empty: one may be."""
    prompt_id: str = ""
    node: str = ""
    class_type: str = ""
    classes: tuple[str, ...] = ()
    """Of the nodes that the running job has begun."""
    step: float = 0.0
    total: float = 0.0
    progress_at: float = 0.0
    loop_lag: float = 0.0
    queue: tuple[int, int] = (0, 0)
    """Jobs running and waiting."""
    stack_signal: str = ""
    journal: str = "ok"
    """``ok``, ``degraded`` (not all jobs are written down), or ``left`` (none is: the listener looks at them)."""

    @property
    def place(self) -> str:
        """Where the running job stands, in words; empty: before its first node."""
        step = f", step {self.step:g} of {self.total:g}" if self.total else ""
        return f"{self.class_type or 'node'} ({self.node}){step}" if self.node else ""


def read(run: str, life: Life, now: float, fresh: float = FRESH) -> Heartbeat | None:
    """Return a life's last beat; None: there is none of the last ``fresh`` seconds, or it is another life's."""
    try:
        record = records.read(f"{run}/{heartbeat.FILE}")
        found = codec.understood(Heartbeat, record) if record else None
    except (records.MalformedError, codec.MalformedError):
        return None
    if found is None or (found.boot, found.pid) != (life.boot, life.pid):
        return None
    is_fresh = -1.0 <= now - found.at < fresh
    return found if is_fresh and math.isfinite(found.progress_at) and found.progress_at <= now + 1.0 else None
