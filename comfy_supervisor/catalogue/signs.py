"""What a line says: the signatures that it has, and the turning points of a log. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from . import reading
from .causes import ENTRIES
from .entry import Entry, Signature
from .reading import shown


class Turn(Enum):
    """What a line says of the place that is reached in the log."""

    __hash__ = object.__hash__  # Enum's own is Python, and a tenth of all the time

    BEGIN = "begin"
    """ComfyUI starts: the second such line of the same words is another life's."""
    LAUNCH = "launch"
    """Our launcher speaks, which runs before ComfyUI."""
    SERVING = "serving"
    DONE = "done"
    """A job has ended, well or not."""
    STOPPED = "stopped"
    TRACEBACK = "traceback"
    CHAINED = "chained"
    """The next traceback belongs to the one before."""
    IN_MAIN = "in_main"
    """A traceback begins in ComfyUI's main program."""
    JOB = "job"
    THREAD = "thread"
    REQUEST = "request"
    NODE = "node"
    """A custom node could not be imported: the traceback before was about that."""
    IGNORED = "ignored"
    """The traceback that follows is of an exception in a place where Python can only mention it, as at its own end."""
    RAISED = "raised"
    """The last line of a traceback."""


_TURNS = (
    (Turn.TRACEBACK, "Traceback (most recent call last)", ""),
    (Turn.IN_MAIN, "main.py", r'^\s*File ".{0,400}main\.py", line \d+, in <module>'),
    (Turn.CHAINED, "above exception", "^(?:During handling of the|The) above exception"),
    (Turn.IGNORED, "Exception ignored ", "^Exception ignored "),
    (Turn.JOB, "!!! Exception during processing", ""),
    (Turn.THREAD, "Exception in thread ", ""),
    (Turn.REQUEST, "Error handling request", ""),
    (Turn.NODE, "module for custom nodes: ", "Cannot import "),
    (Turn.SERVING, "Starting server", ""),
    (Turn.DONE, "Prompt executed in", ""),
    (Turn.STOPPED, "Stopped server", ""),
    (Turn.LAUNCH, "comfy-supervisor: ", "^comfy-supervisor: "),
    (Turn.BEGIN, "Total VRAM", r"^Total VRAM \d+ MB, total RAM"),
    (Turn.BEGIN, "ComfyUI version: ", r"^ComfyUI version: \d"),
    (Turn.BEGIN, "Checkpoint files will always", ""),
    (Turn.BEGIN, "alembic.autogenerate.schemas", ""),
)
_RAISED = re.compile(r"(?:[A-Za-z_]\w{0,80}\.){0,8}[A-Z]\w{2,80}(?::|$)")
"""How the line begins that names an exception: with a class's name."""
LITERALS = tuple(
    sorted({words for _, words, _ in _TURNS} | {one.literal for each in ENTRIES for one in each.signatures})
)
"""Texts one of which every line has that means anything, but for those that name an exception."""
TRACEBACK = ("Traceback (most recent call last)",)
"""Those of the line with which a traceback begins."""


@dataclass(frozen=True)
class Sign:
    """A signature that a line has."""

    entry: Entry
    signature: Signature
    details: Mapping[str, str]


class Meaning:
    """What a line says: the signatures that it has, at most one of each entry, and the turning points that it is."""

    __slots__ = ("begins", "signs", "turns")

    def __init__(self, line: bytes, literals: tuple[str, ...]) -> None:
        """Look closer at a line that has these texts."""
        turns, signatures = _sought(literals)
        text = reading.text(line, literals) if signatures or any(pattern for _, _, pattern in turns) else ""
        self.turns = tuple(
            (turn, words) for turn, words, pattern in turns if not pattern or _compiled(pattern).search(text)
        )
        self.signs = tuple(_signs(text, signatures)) if signatures else ()
        self.begins = any(turn in (Turn.BEGIN, Turn.LAUNCH) for turn, _ in self.turns)


def _signs(text: str, signatures: Sequence[tuple[Entry, Signature]]) -> Iterator[Sign]:
    last = None
    for entry, signature in signatures:
        if entry is not last and signature.literal in text and (found := _compiled(signature.pattern).search(text)):
            last = entry
            yield Sign(entry, signature, _details(found))


@functools.lru_cache(1024)
def _sought(
    literals: tuple[str, ...],
) -> tuple[tuple[tuple[Turn, str, str], ...], tuple[tuple[Entry, Signature], ...]]:
    """Return the turning points and the signatures that a line with these texts may have."""
    signatures = ((entry, one) for entry in ENTRIES for one in entry.signatures if one.literal in literals)
    return tuple(turn for turn in _TURNS if turn[1] in literals), tuple(signatures)


def raised(text: str) -> str:
    """Return the line that names an exception, if it is one; else an empty text."""
    return text if _RAISED.match(text) else ""


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _details(found: re.Match[str]) -> dict[str, str]:
    return {name: shown(value) for name, value in found.groupdict().items() if value and value.strip()}
