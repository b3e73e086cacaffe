"""A job, a life of ComfyUI, and what the one's end means for the other: small frozen values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from ..extension.comfy_supervisor_bridge.life import TICK


class State(str, Enum):
    """Where a job is."""

    QUEUED = "queued"
    """In ComfyUI's queue, or waiting to be put there again."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    DELETED = "deleted"
    """By its user: deleted or interrupted."""
    QUARANTINED = "quarantined"
    """Set aside: ComfyUI died of it."""


UNFINISHED = (State.QUEUED, State.RUNNING)
FINISHED = (State.DONE, State.FAILED, State.DELETED)


class Guilt(str, Enum):
    """What the end of a life says of the job that ran."""

    INNOCENT = "innocent"
    """Somebody wanted that end, or the life ended well."""
    VICTIM = "victim"
    """It came from outside."""
    SUSPECT = "suspect"
    """It came from within."""


class Waits(str, Enum):
    """Why a job waits for an operator."""

    NOT = ""
    OLD = "old"
    """It is older than ``jobs.max_age``."""
    NEVER = "never"
    """``jobs.replay`` is "never"."""
    ASKED_FOR = "asked_for"
    """``jobs.replay`` is "crash", and somebody wanted the end of ComfyUI's life."""


@dataclass(frozen=True)
class Job:
    """One accepted prompt, without its graph. Times are seconds since the epoch."""

    seq: int
    prompt_id: str
    number: float
    """Its place in ComfyUI's queue: the lowest is next."""
    state: State
    life: int | None
    """In whose queue it is, or was last; None: in nobody's."""
    secrets: str
    """Names of the API keys that came with it and are not kept, separated by commas."""
    asked: str
    """Who asked it to give up: ``user``, ``listener``, with a ``+`` for each request that ComfyUI has not come to yet;
    ``obeyed``: the listener did, and it has."""
    waits: Waits
    suspect: int
    """Deaths that it is suspected of."""
    victim: int
    """Deaths from outside while it ran."""
    note: str
    accepted: float
    changed: float
    guessed: bool = False
    """Whether it is only thought to have run when its life ended, others having waited behind it."""


@dataclass(frozen=True)
class Tally:
    """How many jobs there are."""

    queued: int = 0
    """In ComfyUI's queue, or that of one that has ended."""
    running: int = 0
    waiting: int = 0
    """In nobody's queue: to be submitted again, or for an operator to decide on."""
    quarantined: int = 0
    done: int = 0
    failed: int = 0
    deleted: int = 0

    @property
    def kept(self) -> int:
        """Those that have not ended, and are not set aside."""
        return self.queued + self.running + self.waiting


@dataclass(frozen=True)
class Process:
    """What runs ComfyUI's code."""

    boot: str
    """The kernel's boot id."""
    pid: int
    started: float
    """Seconds since boot."""
    image: int = 0
    """Differs after each exec; 0: can't be told."""


def token(process: Process) -> str:
    """Return what the listener names a life by that nobody within it has noted."""
    return f"{process.boot}/{process.pid}/{process.started}/{process.image}"


@dataclass(frozen=True)
class Life:
    """One run of ComfyUI's code, as the journal has it."""

    id: int
    token: str
    boot: str
    pid: int
    started: float
    witness: str
    """``extension`` or ``listener``."""
    cause: str
    guilt: Guilt | None
    """None: it is not known how it ended (yet)."""

    @property
    def is_handed_over(self) -> bool:
        """Whether the extension has entered it, and then left it to the listener."""
        return self.witness == "listener" and not self.token.startswith(f"{self.boot}/")

    def is_of(self, process: Process) -> bool:
        """Tell whether this life is that process's, one of those that it may have had."""
        return (self.boot, self.pid) == (process.boot, process.pid) and abs(self.started - process.started) < TICK

    def is_run_by(self, process: Process) -> bool:
        """Tell whether it is what that process executes now, as far as is known: its image is noted in its token."""
        noted = re.search(r"/([0-9]{1,20})$", self.token)
        known = int(noted[1]) if noted else 0
        return self.is_of(process) and (not known or not process.image or known == process.image)


SUBMITTED = "submitted, and nobody knows what became of that"
"""A note: from outside, a job has been put into a queue, and has not been seen there yet."""
