"""A log, block by block: where in it there may be something, found quickly. Pure.

A log of 100 MB has a million lines, of which a dozen matter. So nothing is done with a line before one of a few words
is found in it, and these are looked for in whole blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

BLOCK = 1 << 18
"""Bytes of the blocks that are looked through at once."""
LONGEST = 1 << 16
"""Bytes of a line that are looked at: of a longer one its beginning and its end."""
LONGEST_SHOWN = 160
"""Characters of a line, or of a detail in it, that are told."""
COMPARED = 2048
"""Characters of a line that are compared with signatures: of a longer one what stands where a word was found."""

WORDS = (
    b"rror",
    b"xception",
    b"Traceback (most",
    b'main.py", line',
    b"Cannot import ",
    b"startup-script: ",
    b"Starting server",
    b"Stopped server",
    b"Prompt executed in",
    b"Total VRAM",
    b"alembic.autogenerate.schemas",
    b"Checkpoint files will always",
    b"comfy-supervisor: ",
    b"SUSPECT: ",
    b"RESTARTING [",
    b" STALLED [",
    b"Killed",
    b"NVRM: ",
    b"GPU is lost",
    b"Got an OOM",
    b"is already in use on",
    b"Value not in list",
    b"library version mismatch",
    b"UserWarning: CUDA init",
    b"is not compatible with",
    b"of cuda capability",
    b"Segmentation fault",
    b"Bus error",
    b"Aborted",
    b"Illegal instruction",
    b"Caught signal ",
    b"computes on the CPU",
    b" corruption",
    b"corrupted ",
    b"(): invalid ",
    b"terminate called",
    b"Database is locked",
    b"compiled using NumPy",
    b"out of system resource",
    b"No space left on",
    b"not found (required",
)
"""Every line that means anything has one of these; a test holds it against the logs. The longer one is, the quicker."""

_CONTROL = re.compile(r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]|\x1b|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal obeys (ECMA-48)."""
_PREFIX = re.compile(
    r"(?:[\w.-]{1,64} +\| )?"  # docker compose
    r"(?:\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]{0,12}(?:Z|[+-]\d\d:?\d\d)?\]?(?: - )? ?)?"  # Manager, docker
    r"(?:\w+ - (?:ERROR|WARNING|INFO) - )?(?:\[(?:ERROR|WARNING|INFO|DEBUG)\] )?"  # logging; ComfyUI from 0.30 on
)
"""What others put before ComfyUI's lines."""


def blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines, each with or without its end, put together to blocks of whole lines."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        body = line[:-1] if line.endswith(b"\n") else line
        if b"\n" in body:
            body = body.replace(b"\n", b" ")
        held.append(cut(body))
        size += len(held[-1]) + 1
        if size >= BLOCK:
            yield b"\n".join(held) + b"\n"
            held, size = [], 0
    if held:
        yield b"\n".join(held) + b"\n"


def whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a stream's chunks, parted where lines end; a line longer than LONGEST loses its middle."""
    rest = b""
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield rest + chunk[:end]
            rest = b""
        rest = cut(rest + chunk[end:])
    if rest:
        yield rest + b"\n"


def cut(line: bytes) -> bytes:
    """Return a line without its middle, if it is too long."""
    if len(line) <= LONGEST:
        return line
    return line[: LONGEST // 2] + line[-LONGEST // 2 :]


def hits(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a block that have one of the words, each with its number in the block, from 0."""
    counted = number = 0
    for start in sorted(_starts(block)):
        number += block.count(b"\n", counted, start)
        counted = start
        end = block.find(b"\n", start)
        yield number, cut(block[start:] if end < 0 else block[start:end])


def _starts(block: bytes) -> set[int]:
    """Return where the lines begin that have one of the words."""
    found: set[int] = set()
    for word in WORDS:
        at = block.find(word)
        while at >= 0:
            found.add(block.rfind(b"\n", 0, at) + 1)
            end = block.find(b"\n", at)
            at = block.find(word, end) if end >= 0 else -1
    return found


def text(line: bytes) -> str:
    """Return a line as text: without what terminals obey, without others' prefixes, short."""
    if len(line) > COMPARED:
        line = b" ".join(part for part in line.split(b"\r") if any(word in part for word in WORDS))
        line = line if len(line) <= 2 * COMPARED else line[:COMPARED] + line[-COMPARED:]
    shown = _CONTROL.sub("", line.decode("utf-8", "replace"))
    prefix = _PREFIX.match(shown)
    return shown[prefix.end() :] if prefix else shown


def quoted(chunks: Iterable[bytes], numbers: Iterable[int]) -> dict[int, str]:
    """Return what some lines of a stream say, by their numbers from 1, in a form that can be shown."""
    wanted, counted, found = set(numbers), 1, dict[int, str]()
    for block in whole_lines(chunks):
        ends = block.count(b"\n")
        here = {number for number in wanted if counted <= number < counted + ends}
        if here:
            lines = block.split(b"\n")
            found.update((number, shown(text(lines[number - counted]))) for number in here)
        counted += ends
        if len(found) == len(wanted):
            break
    return found


def shown(line: str) -> str:
    """Return what a line says in a form that can be shown: one line, short, without what a terminal obeys."""
    plain = " ".join("".join(each if each.isprintable() else " " for each in line).split())
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[: LONGEST_SHOWN - 1]}…"
