"""Which run of ComfyUI's code this is, and which came before it in its process."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

TICK = 0.02
"""Seconds: the kernel tells a process's start in ticks."""
FOLLOWED = f"""
UPDATE lives SET cause = '', guilt = 'innocent'
WHERE boot = :boot AND pid = :pid AND abs(started - :started) < {TICK}
    AND id < (SELECT id FROM lives WHERE token = :token)
"""  # noqa: S608  # a number of ours
"""What is written of the lives before one in its process: ComfyUI-Manager's restart ended them, and no job did.

A blame from before is of a listener that was killed before it could end that life.
"""


@dataclass(frozen=True)
class Life:
    """One run of ComfyUI's code: ComfyUI-Manager's restart keeps the process, and is another."""

    token: str
    """Random, and behind a slash the process's image, 0 where that can't be told: after each exec it is another."""
    boot: str
    """The kernel's boot id."""
    pid: int
    started: float
    """The process's start, seconds since boot by the kernel's clock."""
    began: float
    """Seconds since the epoch."""


def this_one() -> Life:
    """Return the life of this process; raises OSError without /proc."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    # the process's name is in parentheses, and may hold any character; the fields from the third on follow: proc(5)
    figures = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    started, image = int(figures[19]) / os.sysconf("SC_CLK_TCK"), int(figures[25])
    return Life(f"{secrets.token_hex(8)}/{image}", boot, os.getpid(), started, time.time())
