"""What a process is doing, as the kernel tells it."""

from __future__ import annotations

import psutil


def memory(pid: int) -> int:
    """Return the resident memory of a process and all that it started, in bytes; 0 if it is gone.

    Pages that they share are counted for each of them.
    """
    try:
        process = psutil.Process(pid)
        return sum(map(_resident, [process, *process.children(recursive=True)]))
    except psutil.Error:
        return 0


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
