"""What an entry of the catalogue is made of. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

Kind = Literal["configuration", "sticky", "job", "transient", "warning", "none"]
"""What becomes of a fault if nobody mends it.

``configuration``: the next start fails of it, too. ``sticky``: everything fails of it until ComfyUI, or the machine,
starts anew. ``job``: one job's own. ``transient``: it may be gone by itself. ``warning``: ComfyUI goes on without
something. ``none``: no fault.
"""


def by_shell(what: str) -> str:
    """Return a pattern for the line in which a shell tells of what its child ended: that is all that it says."""
    job = r"(?:.{0,200}line \d{1,9}: +(?:\d{1,9} )?|\[\d{1,4}\][+-]? +(?:\d{1,9} )?)?"
    return rf"^{job}{what}(?: \(core dumped\))?(?: {{2,}}\S.*| *)$"


class Place(Enum):
    """In what a line of a log stands, and how much a failure there weighs."""

    __hash__ = object.__hash__  # Enum's own is Python, and a tenth of all the time

    MAIN = "main"
    """A traceback that nobody caught: ComfyUI ended of it."""
    JOB = "job"
    THREAD = "thread"
    LOG = "log"
    """A line of its own, or a traceback that somebody caught and printed."""
    NODE = "node"
    """The import of a custom node, which ComfyUI does without."""
    REQUEST = "request"


TELLS_NOTHING = frozenset({"", "unknown", "healthy"})
"""Causes that explain nothing."""

ENDS_NOTHING = frozenset({"warning", "none"})
"""Kinds of what is no reason for an end: ComfyUI goes on."""

RAISED = (Place.MAIN, Place.JOB, Place.THREAD, Place.NODE)
"""Where an exception is more than a message."""
ENDED = (Place.MAIN, Place.JOB, Place.THREAD)
"""The same without custom nodes' imports."""
ANYWHERE = (*RAISED, Place.LOG, Place.REQUEST)


@dataclass(frozen=True)
class Signature:
    """One way in which a failure shows in a line."""

    literal: str
    """A text that the line has: what is looked for first, since that is quick."""
    pattern: str = ""
    """A regular expression for the line, where the text alone says too little. Its named groups become details."""
    places: tuple[Place, ...] = RAISED
    fatal: bool = False
    """Whether the line itself says that the process ended of it."""
    weight: float = 1.0
    """How far the line alone is worth believing, up to 1."""


@dataclass(frozen=True)
class Entry:
    """One known failure."""

    cause: str
    """Its id, the same in every report."""
    kind: Kind
    told: str
    """The explanation; what is in braces are details."""
    mend: str
    """What to do, with details in braces."""
    source: str
    """Where its messages are from: an issue, a release, a program's documentation."""
    signatures: tuple[Signature, ...] = ()
    signals: tuple[int, ...] = ()
    """The signals that ComfyUI ends by when it is this."""
    leads_to: tuple[str, ...] = ()
    """What else fails because of it: where both are seen, this one is the cause."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What stands for a detail that the log doesn't have."""
    may_pass: bool = False
    """Of a configuration's fault: whether it may pass by itself all the same, as when a disk is mounted late."""

    @property
    def explanation(self) -> str:
        """What it means, in general."""
        return self.explained({})

    @property
    def fix(self) -> str:
        """What mends it, in general."""
        return self.mended({})

    def explained(self, details: Mapping[str, str]) -> str:
        """Return what it means, with what was found."""
        return self.told.format_map({**self.words, **details})

    def mended(self, details: Mapping[str, str]) -> str:
        """Return what mends it, with what was found."""
        return self.mend.format_map({**self.words, **details})


@dataclass(frozen=True)
class Explanation:
    """Why a log ends as it does."""

    cause: str
    confidence: float
    """From 0 to 1."""
    evidence: tuple[int, ...]
    """The lines that show it, counted from 1, the first ones first."""
    explanation: str
    fix: str
    also_possible: tuple[str, ...] = ()
    """Other causes that the log shows signs of, the likelier ones first."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What it is about, as the log names it: a module, a port, a file …"""
    fatal: bool = False
    """Whether ComfyUI ended of it."""
