"""Whether it is still the same process that answers: one that was started anew has an empty queue."""

from __future__ import annotations

import os
from pathlib import Path

from ..extension.comfy_supervisor_bridge.life import TICK
from .job import Process


def goes_on(process: Process) -> bool:
    """Tell whether a process goes on, executing what it did."""
    try:
        text = Path(f"/proc/{process.pid}/stat").read_bytes()
    except OSError:
        return False
    # the process's name is in parentheses, and may hold any character; the fields from the third on follow: proc(5)
    figures = text.rpartition(b")")[2].split()
    started, image = int(figures[19]) / os.sysconf("SC_CLK_TCK"), int(figures[25])
    return abs(started - process.started) < TICK and (0 in {image, process.image} or image == process.image)
