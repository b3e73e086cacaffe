"""A log as it grows: its last lines, what is added, and what takes its place when it is rotated."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

POLL = 0.2
COLOUR = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
"""A control sequence of terminals (ECMA-48): colours above all."""
BEGUN = re.compile(rb"\x1b(\[[0-?]{0,32}[ -/]?)?\Z")
"""The beginning of one at the end of what is there so far."""
BLOCK = 16384
"""Bytes from the end of a log in which its last lines are looked for first."""
MOST = 1024 * 1024
"""Bytes that are read at once of what has been added."""


def plain(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield chunks without the colours that ComfyUI, from 0.23 on, writes off a terminal too; one may span two."""
    left = b""
    for chunk in chunks:
        text = COLOUR.sub(b"", left + chunk)
        begun = BEGUN.search(text)
        left = begun[0] if begun else b""
        yield text[: len(text) - len(left)]
    yield left


def chunks(file: Path, lines: int, *, follow: bool) -> Iterator[bytes]:
    """Yield the end of a file; then, on request, what is added to it and to those that take its place."""
    if follow:
        yield from (chunk for _, chunk in followed(file, lambda stream: seek_tail(stream, lines)))
    else:
        with contextlib.suppress(FileNotFoundError):
            yield tail(file, lines)


def followed(file: Path, begin: Callable[[BinaryIO], None]) -> Iterator[tuple[BinaryIO, bytes]]:
    """Yield a file and what is added to it, for good, and likewise those that take its place.

    ``begin`` goes to where the first of them is begun with.
    """
    first = True
    while True:
        with contextlib.suppress(FileNotFoundError), file.open("rb") as stream:
            if first:
                begin(stream)
            yield from ((stream, chunk) for chunk in _added(stream, file))
        first = False
        time.sleep(POLL)


def _added(stream: BinaryIO, file: Path) -> Iterator[bytes]:
    """Yield what is in an open file and is added to it, until another takes its place."""
    while True:
        replaced = _is_replaced(stream, file)
        chunk = stream.read(MOST)
        yield chunk
        if len(chunk) == MOST:
            continue
        if replaced:
            return
        if os.fstat(stream.fileno()).st_size < stream.tell():
            stream.seek(0)
        time.sleep(POLL)


def _is_replaced(stream: BinaryIO, file: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(stream.fileno()), file.stat())
    except FileNotFoundError:
        return True


def tail(file: Path, lines: int) -> bytes:
    """Return the last lines of a file; raises OSError."""
    with file.open("rb") as stream:
        seek_tail(stream, lines)
        return stream.read()


def seek_tail(stream: BinaryIO, lines: int) -> None:
    """Go to where the last lines of a file begin, without reading all of it."""
    size, reach = stream.seek(0, os.SEEK_END), BLOCK
    while lines:
        start = stream.seek(max(0, size - reach))
        begins = [start + end.end() for end in re.finditer(b"\n", stream.read(size - start)[:-1])]
        if len(begins) >= lines or start == 0:
            stream.seek(begins[-lines] if len(begins) >= lines else 0)
            return
        reach *= 4
