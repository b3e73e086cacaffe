"""``comfy-supervisor logs``."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from ..errors import UserError
from ..settings import Loaded
from . import service
from .common import with_usable_settings

POLL = 0.2
BLOCK = 16384
"""Bytes from the end of a log in which its last lines are looked for first."""


@click.command("logs")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is added, over rotations too; Ctrl-C ends it.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    help="How many lines from the end to begin with.",
)
@with_usable_settings
def command(loaded: Loaded, name: str | None, follow: bool, lines: int) -> None:
    """NAME: comfyui:gpu1 or gpu1, or supervisord for its own log; without one, ComfyUI's (the first instance's)."""
    rendered = service.read(loaded)
    file = rendered.log if name == "supervisord" else rendered.named([name] if name else [])[0].log
    if not file.exists() and not follow:
        raise UserError(f"{file}: not there yet: ComfyUI was never started; comfy-supervisor up starts it")
    for chunk in _chunks(file, lines, follow):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _chunks(file: Path, lines: int, follow: bool) -> Iterator[bytes]:
    """Yield the end of a file; then, on request, what is added to it and to those that take its place."""
    from_the_end = True
    while True:
        with contextlib.suppress(FileNotFoundError), file.open("rb") as stream:
            if from_the_end:
                _seek_tail(stream, lines)
            yield from _added(stream, file) if follow else [stream.read()]
        if not follow:
            return
        from_the_end = False
        time.sleep(POLL)


def _added(stream: BinaryIO, file: Path) -> Iterator[bytes]:
    """Yield what is in an open file and is added to it, until another takes its place."""
    while True:
        replaced = _is_replaced(stream, file)
        yield stream.read()
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
        _seek_tail(stream, lines)
        return stream.read()


def _seek_tail(stream: BinaryIO, lines: int) -> None:
    """Go to where the last lines of a file begin, without reading all of it."""
    size, reach = stream.seek(0, os.SEEK_END), BLOCK
    while lines:
        start = stream.seek(max(0, size - reach))
        begins = [start + end.end() for end in re.finditer(b"\n", stream.read(size - start)[:-1])]
        if len(begins) >= lines or start == 0:
            stream.seek(begins[-lines] if len(begins) >= lines else 0)
            return
        reach *= 4
