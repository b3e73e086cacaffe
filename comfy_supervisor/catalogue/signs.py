"""What a line says: the signatures that it has, and the turning points of a log. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

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
    (Turn.BEGIN, "Checkpoint files will always", ""),
    (Turn.BEGIN, "alembic.autogenerate.schemas", ""),
)
_RAISED = r"^(?:[A-Za-z_]\w{0,80}\.){0,8}[A-Z]\w{2,80}(?::|$)"
"""How the line begins that names an exception: with a class's name."""


@dataclass(frozen=True)
class Sign:
    """A signature that a line has."""

    entry: Entry
    signature: Signature
    details: Mapping[str, str]


def signs(text: str) -> Iterator[Sign]:
    """Yield the signatures that a line has, at most one of each entry."""
    for entry in ENTRIES:
        for signature in entry.signatures:
            if signature.literal not in text:
                continue
            found = _compiled(signature.pattern).search(text)
            if found:
                yield Sign(entry, signature, _details(found))
                break


def turns(text: str) -> tuple[tuple[Turn, str], ...]:
    """Return the turning points that a line is, each with its words."""
    found = [
        (turn, literal) for turn, literal, pattern in _TURNS if literal in text and _compiled(pattern).search(text)
    ]
    return (*found, *([(Turn.RAISED, text)] if _compiled(_RAISED).match(text) else []))


def is_telling(line: bytes) -> bool:
    """Tell whether a line may have a signature or be a turning point, without looking closer."""
    return _telling().search(line) is not None


@functools.cache
def _telling() -> re.Pattern[bytes]:
    """Return a pattern for any of the texts that are looked for, parted by their first letter: so it is quick."""
    literals = {literal for _, literal, _ in _TURNS} | {one.literal for each in ENTRIES for one in each.signatures}
    initials: dict[str, list[str]] = {}
    for literal in sorted(literals):
        initials.setdefault(literal[0], []).append(re.escape(literal[1:]))
    return re.compile("|".join(f"{re.escape(one)}(?:{'|'.join(rest)})" for one, rest in initials.items()).encode())


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _details(found: re.Match[str]) -> dict[str, str]:
    return {name: shown(value) for name, value in found.groupdict().items() if value and value.strip()}
