"""Where each of ComfyUI's threads is, as our extension writes it down on a signal: bounded in time, never an exception.

faulthandler does that in C, within the signal's handler: also while the interpreter's lock is held.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path

from ...extension.comfy_supervisor_bridge import stacks
from ..policy.evidence import Life
from . import heartbeat, proc

BEFORE = stacks.BEFORE
"""Its name from the next life on."""
PATIENCE = 3.0
"""Seconds that a restart waits for the stacks, at most."""
_QUIET = 0.2
"""Seconds without another byte after which all are there."""
_SIGNALS = {"SIGUSR1": signal.SIGUSR1, "SIGUSR2": signal.SIGUSR2}


def written(run: str, life: Life, send: Callable[[str], bool]) -> Path | None:
    """Have a life's stacks written down; return the file, None: it has no ear for that, or no time.

    ``send`` sends it a signal by its name, ``USR1``. A signal that nobody waits for would end the process: of what the
    extension said last, the kernel has to know, too.
    """
    beat = heartbeat.read(run, life, time.monotonic(), fresh=math.inf)
    asked = _SIGNALS.get(beat.stack_signal) if beat else None
    file = Path(run, stacks.FILE)
    before = _size(file)
    if asked is None or not proc.catches(life.pid, asked) or not send(asked.name.removeprefix("SIG")):
        return None
    over, last, since = time.monotonic() + PATIENCE, before, time.monotonic()
    while time.monotonic() < over:
        time.sleep(_QUIET / 4)
        size = _size(file)
        if size != last:
            last, since = size, time.monotonic()
        elif size > before and time.monotonic() - since >= _QUIET:
            break
    return file if last > before else None


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:
        return 0
