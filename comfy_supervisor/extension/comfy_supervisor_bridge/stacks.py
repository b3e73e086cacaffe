"""On a signal, the stack of every thread, also while the event loop is blocked or the GIL held."""

from __future__ import annotations

import faulthandler
import signal
from contextlib import suppress
from pathlib import Path
from typing import TextIO

FILE = "stacks.txt"
"""In the instance's run folder; each signal appends to it."""
BEFORE = "stacks.1.txt"
"""What the last life to write any has left."""
_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)

_kept: list[TextIO] = []
"""faulthandler writes into it for as long as the process lives."""


def listen(run: str) -> str:
    """Have the first signal that nobody uses write the stacks; return its name, empty if there is none.

    faulthandler writes from within the signal's handler, in C, and asks no lock of Python's. Raises OSError.
    """
    unused = next((each for each in _SIGNALS if signal.getsignal(each) is signal.SIG_DFL), None)
    if unused is None:
        return ""
    path = Path(run, FILE)
    with suppress(FileNotFoundError):
        if path.lstat().st_size:
            path.replace(path.with_name(BEFORE))
    file = path.open("w", encoding="utf-8")  # open for as long as the process lives
    _kept.append(file)
    faulthandler.register(unused, file=file, all_threads=True, chain=False)
    return unused.name
