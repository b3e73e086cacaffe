"""Hands logs on to systemd's journal, line by line: a program of supervisord's beside ComfyUI.

The files stay as they are, with their rotation and all that reads them. How far each was handed on is written down
beside it, so that no line is missed that is written while nobody looks. usage: python -m comfy_supervisor.journald
NAME=FILE...; ``journalctl --identifier NAME`` then shows a file's lines.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from . import following
from .launch import records

LIBRARY = "libsystemd.so.0"
INFO = 6
"""The priority of each line: syslog(3)."""
RETRY = 30.0
"""Seconds between two tries to reach a journal that is not there."""
LONGEST = 48 * 1024
"""Bytes of a line; of a longer one each such piece is a line, as journald itself has it: journald.conf(5), LineMax."""
FIRST = 1024 * 1024
"""Bytes from the end of a log that is handed on for the first time."""
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
"""What a line may not hold: journalctl would call it a blob, and not show it."""


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole lines, as a terminal would show them in the end: of a progress bar, what it came to."""
    left = b""
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield from _shown(_overwritten(left + line))
            left = b""
        left = _overwritten(left + rest)
        if len(left) >= LONGEST:
            yield from _shown(left)
            left = b""


def _overwritten(line: bytes) -> bytes:
    """Return what is left of a line by its carriage returns."""
    return line[line.rstrip(b"\r").rfind(b"\r") + 1 :]


def _shown(line: bytes) -> Iterator[bytes]:
    """Yield a line as the journal takes it: one that is too long in pieces, a blank one not at all."""
    text = _CONTROL.sub(b"", line)
    for start in range(0, len(text), LONGEST):
        piece = text[start : start + LONGEST]
        if piece.strip():
            yield piece + b"\n"


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
    for line in lines(following.plain(_unseen(file))):
        while True:
            try:
                _write(opened, line)
                break
            except OSError:
                os.close(opened)
                opened = _patiently(name)


def _unseen(file: Path) -> Iterator[bytes]:
    """Yield what was not handed on yet, and what is added, for good; what was yielded is handed on by the next time."""
    inode, offset = _position(file)
    yield from _rest(file.with_name(f"{file.name}.1"), inode, offset)

    def begin(stream: BinaryIO) -> None:
        status = os.fstat(stream.fileno())
        if status.st_ino == inode and offset <= status.st_size:
            stream.seek(offset)
        elif not inode:
            _skip_to_last(stream, status.st_size)

    for stream, chunk in following.followed(file, begin):
        yield chunk
        ended = chunk.rfind(b"\n") + 1
        if ended:
            _remember(file, os.fstat(stream.fileno()).st_ino, stream.tell() - len(chunk) + ended)


def _rest(rotated: Path, inode: int, offset: int) -> Iterator[bytes]:
    """Yield what is left of a file that was rotated while nobody looked."""
    with contextlib.suppress(FileNotFoundError), rotated.open("rb") as stream:
        if os.fstat(stream.fileno()).st_ino == inode:
            stream.seek(offset)
            yield from iter(lambda: stream.read(following.MOST), b"")


def _skip_to_last(stream: BinaryIO, size: int) -> None:
    """Go to the first line of the last ones that are handed on at all."""
    if size > FIRST:
        stream.seek(size - FIRST)
        stream.readline()


def _position(file: Path) -> tuple[int, int]:
    """Return the inode of the file that was handed on last, and up to which byte; zeros: none is known."""
    try:
        found = records.read(_note(file)) or {}
    except records.MalformedError:
        found = {}
    inode, offset = found.get("inode"), found.get("offset")
    return (inode, offset) if isinstance(inode, int) and isinstance(offset, int) and offset >= 0 else (0, 0)


def _remember(file: Path, inode: int, offset: int) -> None:
    with contextlib.suppress(OSError):  # on a full disk lines may be told twice
        records.write(_note(file), {"v": 1, "inode": inode, "offset": offset})


def _note(file: Path) -> str:
    return str(file.with_name(f".{file.name}.journal"))


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
