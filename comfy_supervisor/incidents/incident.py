"""What an incident is, and ``incident.json``, which says all of it. Frozen values; times in seconds since the epoch."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any

from .. import codec
from ..launch.lastword import cut
from .dumps import Suspect

VERSION = 1
MOST_IDS = 100
"""Ids of jobs that are kept of each sort; of more, how many more there were."""
LONGEST_HEADLINE = 120
"""Characters of an incident's first line."""
_ID = re.compile(r"(\d{8}T\d{6}Z)-([A-Za-z0-9]+)-([a-z0-9_]+)(?:-\d+)?")
_STAMP = "%Y%m%dT%H%M%SZ"


class Kind(str, Enum):
    """What kind of event it was."""

    RESTART = "restart"
    """The listener ended a life."""
    CRASH = "crash"
    """A life ended, and neither the listener nor an operator wanted that."""
    GAVE_UP = "gave_up"
    GPU_FAULT = "gpu_fault"
    CONFIGURATION = "configuration"
    """The next start would fail alike."""


@dataclass(frozen=True)
class Moment:
    """One verdict of the health listener's, from its decisions."""

    at: str
    word: str
    deed: str = ""
    cause: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Step:
    """One thing that was done, or happened."""

    what: str
    after: float
    """Seconds after the decision."""


@dataclass(frozen=True)
class Explained:
    """What the catalogue says of it."""

    cause: str
    explanation: str = ""
    fix: str = ""
    confidence: float | str | None = None
    evidence: tuple[str, ...] = ()
    """The log's lines that say so."""
    also_possible: tuple[str, ...] = ()


@dataclass(frozen=True)
class Jobs:
    """What became of the jobs; ids only."""

    running: str = ""
    """The one that ran, as far as is known."""
    waiting: tuple[str, ...] = ()
    """Those behind it."""
    settled: bool = False
    """Whether it has been decided on them: at the next life's first answer."""
    rescued: tuple[str, ...] = ()
    """Queued again."""
    charged: tuple[str, ...] = ()
    """Held against them: they ran at this death."""
    quarantined: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    """For an operator to decide on."""
    more: Mapping[str, int] = field(default_factory=dict)
    """How many more there are than are named, of ``waiting`` and the other sorts."""

    @property
    def short(self) -> Jobs:
        """The same with no more ids than are kept."""
        lists = {name: getattr(self, name) for name in ("waiting", "rescued", "charged", "quarantined", "kept")}
        left_out = {name: len(ids) - MOST_IDS for name, ids in lists.items() if len(ids) > MOST_IDS}
        return replace(self, more={**self.more, **left_out}, **{name: ids[:MOST_IDS] for name, ids in lists.items()})

    @property
    def named(self) -> frozenset[str]:
        """All that it speaks of."""
        return frozenset(filter(None, (self.running, *self.rescued, *self.charged, *self.quarantined, *self.kept)))


@dataclass(frozen=True)
class Incident:
    """One thing that went wrong."""

    id: str
    at: float
    instance: str
    program: str
    kind: Kind
    cause: str
    reason: str = ""
    """What was seen, in a sentence with the figures in it."""
    word: str = ""
    """The policy's word, and its deed."""
    deed: str = ""
    ending: str = ""
    """How the life ended, as supervisord has it."""
    pid: int = 0
    boot: str = ""
    started: float = 0.0
    """The process's start, seconds since boot."""
    explained: Explained | None = None
    log_says: Explained | None = None
    """What the log alone says, where that is something else."""
    suspect: Suspect | None = None
    timeline: tuple[Moment, ...] = ()
    steps: tuple[Step, ...] = ()
    jobs: Jobs = Jobs()
    heartbeat: Mapping[str, Any] = field(default_factory=dict)
    """The last one of the extension's."""
    versions: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Memory, descriptors, threads, processes: the sums."""
    files: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    """What could not be had, and why."""
    brief: bool = False
    """One of many in a row: only what was at hand was kept."""
    unrecorded: int = 0
    """How many more like it, right before it, have no folder of their own."""
    seconds: float = 0.0
    """What it took to make, in all; nobody waited for most of it."""
    v: int = VERSION

    @property
    def headline(self) -> str:
        """It in one line."""
        return cut(f"{self.program} {self._crash or self._other}", LONGEST_HEADLINE)

    @property
    def _crash(self) -> str:
        """How it ended, and of what, as far as that is known; empty: it is no crash, or nothing was seen."""
        if self.kind is not Kind.CRASH or not self.reason:
            return ""
        known = f"{'' if self.cause == 'unknown' else self.cause}{self._place}".removeprefix(", ")
        return f"{self.reason} ({known})" if known else self.reason

    @property
    def _other(self) -> str:
        """What was done, of what cause if that is known, and the suspect, where there is one, or what was seen."""
        seen = self.reason or self.ending
        cause = "" if self.cause == "unknown" and (seen or self._place) else self.cause
        told = f"{cause}{self._place}" if self._place else ": ".join(filter(None, (cause, seen)))
        return f"{_HEADLINES[self.kind]}: {told.removeprefix(', ')}"

    @property
    def _place(self) -> str:
        """At what it happened; empty: there is no suspect."""
        names = (self.suspect.class_type, self.suspect.package) if self.suspect else ()
        return f", at {' of '.join(filter(None, names))}" if any(names) else ""


_HEADLINES: Mapping[Kind, str] = {
    Kind.RESTART: "was restarted",
    Kind.CRASH: "ended by itself",
    Kind.GAVE_UP: "was given up",
    Kind.GPU_FAULT: "has a GPU that needs a person",
    Kind.CONFIGURATION: "can't run as it is configured",
}


def new_id(at: float, instance: str, cause: str) -> str:
    """Return the name of an incident's folder."""
    safe = re.sub(r"[^a-z0-9_]", "_", cause.lower()) or "unknown"
    return f"{time.strftime(_STAMP, time.gmtime(at))}-{instance}-{safe}"


def instance_of(name: str) -> str:
    """Return whose incident a folder of this name is; empty: it is none."""
    found = _ID.fullmatch(name)
    return found[2] if found else ""


def plain(incident: Incident) -> dict[str, Any]:
    """Return an incident as JSON has it, with its headline."""
    return {"v": incident.v, **asdict(incident), "headline": incident.headline}


def read(text: str | bytes) -> Incident:
    """Return the incident that a text of ``incident.json`` tells of; raises MalformedError."""
    return codec.read(Incident, text)
