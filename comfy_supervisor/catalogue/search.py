"""Where in a block of a log there may be something, found quickly. Pure.

A log of 100 MB has a million lines, of which a dozen matter. So a block is parted into its words, all at once, and only
those texts are looked for of which a word is among them: a million different errors take no longer than as many jobs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence

from . import reading
from .signs import LITERALS

KEYS: Mapping[str, Sequence[str]] = {
    "!!! Exception during processing": ("during",),
    "(prompt_worker)": ("worker",),
    "Aborted": ("Aborted",),
    "Allocation on device": ("Allocation",),
    "Bus error": ("Bus",),
    "CUDA driver initialization failed": ("driver",),
    "CUDA error: out of memory": ("out",),
    "CUDAAllocatorConfig": ("CUDAAllocatorConfig",),
    "ConnectTimeout": ("ConnectTimeout", "ConnectTimeoutError"),
    "ConnectionError: HTTP": ("ConnectionError", "ClientConnectionError"),
    "DefaultCPUAllocator: ": ("DefaultCPUAllocator",),
    "GPU is lost": ("lost",),
    "HeaderTooLarge": ("HeaderTooLarge",),
    "Illegal instruction": ("Illegal",),
    "InvalidHeaderDeserialization": ("InvalidHeaderDeserialization",),
    "Killed": ("Killed",),
    "MemoryError": ("MemoryError", "ArrayMemoryError"),
    "MetadataIncompleteBuffer": ("MetadataIncompleteBuffer",),
    "NVRM: Xid": ("NVRM",),
    "Network is unreachable": ("unreachable",),
    "No module named ": ("named",),
    "PytorchStreamReader failed": ("PytorchStreamReader",),
    "ReadTimeout": ("ReadTimeout", "ReadTimeoutError"),
    "Segmentation fault": ("Segmentation",),
    "Starting server": ("Starting",),
    "Stopped server": ("Stopped",),
    "Total VRAM": ("VRAM",),
    "above exception": ("above",),
    "cannot import name": ("cannot",),
    "cudaErrorIllegalAddress": ("cudaErrorIllegalAddress",),
    "database is locked": ("locked",),
    "free(): ": ("free",),
    "in prompt_worker": ("worker",),
    "main.py": ("main",),
    "main.py: error: ": ("main",),
    "malloc(): ": ("malloc",),
    "misaligned address": ("misaligned",),
    "operation not supported on global/shared address space": ("global",),
    "out of memory. Tried to allocate": ("Tried",),
    "river/library version mismatch": ("mismatch",),
}
"""Words of which a line has one wherever it has the text: only of the words inside a text that is clear by itself."""

_WORDS = bytes(code if chr(code).isascii() and chr(code).isalnum() else 32 for code in range(256))
_WORD = re.compile(r"[A-Za-z0-9]+")
_COLOUR = re.compile(rb"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]")
_USUAL_COLOURS = (b"\x1b[0m", b"\x1b[32m", b"\x1b[33m", b"\x1b[31m")
"""ComfyUI's own, which it writes into every line from 0.30 on."""


def plain(block: bytes) -> bytes:
    """Return a block without colours, which may part a word; its lines stay."""
    if b"\x1b" not in block:
        return block
    for colour in _USUAL_COLOURS:
        block = block.replace(colour, b"")
    return _COLOUR.sub(b"", block) if b"\x1b" in block else block


def hits(block: bytes) -> list[tuple[int, tuple[str, ...]]]:
    """Return where the lines begin that have one of the texts, in their order, each with those that it has."""
    by_key = _by_key()
    found: dict[int, list[str]] = {}
    for literal in sorted({one for key in by_key.keys() & block.translate(_WORDS).split() for one in by_key[key]}):
        wanted = literal.encode()
        at = block.find(wanted)
        while at >= 0:
            found.setdefault(block.rfind(b"\n", 0, at) + 1, []).append(literal)
            end = block.find(b"\n", at)
            at = block.find(wanted, end) if end >= 0 else -1
    return [(begin, tuple(found[begin])) for begin in sorted(found)]


def quoted(chunks: Iterable[bytes], numbers: Iterable[int]) -> dict[int, str]:
    """Return what some lines of a stream say, by their numbers from 1, in a form that can be shown."""
    wanted, counted, found = set(numbers), 1, dict[int, str]()
    for block in reading.whole_lines(chunks):
        ends = block.count(b"\n")
        here = {number for number in wanted if counted <= number < counted + ends}
        if here:
            lines = block.split(b"\n")
            found.update((number, reading.shown(reading.text(lines[number - counted], LITERALS))) for number in here)
        counted += ends
        if len(found) == len(wanted):
            break
    return found


def keys(literal: str) -> Sequence[str]:
    """Return words of which a line has one if it has this text; none: there is no such word, which is a mistake."""
    if literal in KEYS:
        return KEYS[literal]
    whole = [one[0] for one in _WORD.finditer(literal) if one.start() > 0 and one.end() < len(literal)]
    return [max(whole, key=len)] if whole else []


@functools.cache
def _by_key() -> Mapping[bytes, Sequence[str]]:
    found: dict[bytes, list[str]] = {}
    for literal in LITERALS:
        for key in keys(literal):
            found.setdefault(key.encode(), []).append(literal)
    return found
