"""A log in blocks of whole lines, and its lines as text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

BLOCK = 1 << 18
"""Bytes of the blocks that are looked through at once."""
LONGEST = 1 << 16
"""Bytes of a line that are looked at: of a longer one its beginning and its end."""
LONGEST_SHOWN = 160
"""Characters of a line, or of a detail in it, that are told."""
COMPARED = 2048
"""Characters of a line that are compared with signatures: of a longer one what stands where a word was found."""

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


def text(line: bytes, literals: Sequence[str] = ()) -> str:
    """Return a line as text: without what terminals obey, without others' prefixes, short.

    Of a long one, as progress bars make it, the parts that have one of the texts.
    """
    if len(line) > COMPARED:
        wanted = [one.encode() for one in literals]
        parts = [part for part in line.split(b"\r") if any(one in part for one in wanted)] if wanted else [line]
        line = b" ".join(parts)
        line = line if len(line) <= 2 * COMPARED else line[:COMPARED] + line[-COMPARED:]
    shown = _CONTROL.sub("", line.decode("utf-8", "replace"))
    prefix = _PREFIX.match(shown)
    return shown[prefix.end() :] if prefix else shown


def shown(line: str) -> str:
    """Return what a line says in a form that can be shown: one line, short, without what a terminal obeys."""
    if not line.isprintable():
        line = "".join(each if each.isprintable() else " " for each in line)
    plain = " ".join(line.split())
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[: LONGEST_SHOWN - 1]}…"
