"""Hands logs on to systemd's journal, line by line: a program of supervisord's beside ComfyUI.

The files stay as they are, with their rotation and all that reads them. usage: python -m comfy_supervisor.journald
NAME=FILE...; ``journalctl --identifier NAME`` then shows a file's lines.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import following

LIBRARY = "libsystemd.so.0"
INFO = 6
"""The priority of each line: syslog(3)."""
RETRY = 30.0
"""Seconds between two tries to reach a journal that is not there."""
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
"""What a line may not hold: journalctl would call it a blob, and not show it."""


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole lines, as a terminal would show them in the end: of a progress bar, what it came to."""
    left = b""
    for chunk in chunks:
        *whole, left = (left + chunk).split(b"\n")
        for line in whole:
            shown = _CONTROL.sub(b"", line.rstrip(b"\r").rpartition(b"\r")[2])
            if shown.strip():
                yield shown + b"\n"


def stream(name: str) -> int:
    """Return a descriptor whose lines go to the journal under a name: sd_journal_stream_fd(3); raises OSError."""
    import ctypes  # noqa: PLC0415  # loads a library, which importing us must not

    opened: int = ctypes.CDLL(LIBRARY).sd_journal_stream_fd(name.encode(), INFO, 0)
    if opened < 0:
        raise OSError(-opened, os.strerror(-opened))
    return opened


def hand_on(name: str, file: Path) -> None:
    """Hand on what is added to a file, for good; a journal that goes away is found again, and misses nothing."""
    opened = _patiently(name)
    for line in lines(following.plain(following.chunks(file, 0, follow=True))):
        while True:
            try:
                _write(opened, line)
                break
            except OSError:
                os.close(opened)
                opened = _patiently(name)


def _write(opened: int, line: bytes) -> None:
    while line:
        line = line[os.write(opened, line) :]


def _patiently(name: str) -> int:
    """Return a stream, as soon as there is one."""
    said = False
    while True:
        try:
            return stream(name)
        except OSError as error:
            if not said:
                print(f"{name}: no journal to be had ({error}); tried again every {RETRY:g} s", flush=True)  # noqa: T201  # our log
            said = True
            time.sleep(RETRY)


def main(argv: list[str]) -> None:
    """Hand on each ``NAME=FILE``; returns never."""
    pairs = [argument.partition("=") for argument in argv]
    threads = [threading.Thread(target=hand_on, args=(name, Path(file)), daemon=True) for name, _, file in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])
