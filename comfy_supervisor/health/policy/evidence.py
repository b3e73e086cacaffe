"""What is seen of one instance at one moment, what is remembered of it, and what the policy says.

Small frozen values that JSON can carry. Times are seconds of CLOCK_MONOTONIC, which all processes of one boot
share; durations are seconds, sizes bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ...model import GpuSight


class Word(str, Enum):
    """How an instance is, in one word."""

    STOPPED = "STOPPED"
    """An operator's or supervisord's word."""
    STARTING = "STARTING"
    IDLE = "IDLE"
    BUSY = "BUSY"
    SUSPECT = "SUSPECT"
    STALLED = "STALLED"
    """Asked to give the running job up; what it does decides."""
    RESTARTING = "RESTARTING"
    BACKOFF = "BACKOFF"
    GAVE_UP = "GAVE_UP"
    GPU_FAULT = "GPU_FAULT"
    BLIND = "BLIND"
    """Our own side is in trouble, or all instances seem sick at once."""


class Deed(str, Enum):
    """What is to be done."""

    NOTHING = "nothing"
    ALERT = "alert"
    INTERRUPT = "interrupt"
    """Ask ComfyUI to give the running job up."""
    RESTART = "restart"
    """SIGINT, and SIGKILL when that has no effect."""
    KILL = "kill"
    """SIGKILL at once: a stopped process hears nothing else."""
    HOLD = "hold"
    """Have the launcher wait at the next start; whatever runs goes on."""
    LIFT = "lift"
    """Take a hold of ours away."""


ENDS = frozenset({Deed.RESTART, Deed.KILL})
"""What ends a life."""


RECYCLED = "recycled"
"""The cause of a restart that was planned, with nothing wrong."""


class Reply(str, Enum):
    """What ``GET /prompt`` brought."""

    GOOD = "good"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    """No whole answer within the deadline."""
    ERROR = "error"
    """HTTP 5xx."""
    STRANGE = "strange"
    """Anything else: broken JSON, a redirect, too long an answer."""
    UNASKED = "unasked"
    """We could not ask, or there was nobody to ask: says nothing of the instance."""


FAILING = frozenset({Reply.REFUSED, Reply.TIMEOUT, Reply.ERROR})
"""What is a sign of illness; a strange answer is none, since it was answered."""


class Patience(str, Enum):
    """How long a running job's nodes may be silent."""

    NORMAL = "normal"
    REMOTE = "remote"
    """A node calls an API elsewhere."""
    ENDLESS = "endless"
    """A node waits for a person."""


@dataclass(frozen=True)
class Life:
    """One run of one program's code."""

    boot: str
    """The kernel's boot id."""
    pid: int
    started: float
    """The process's start by the kernel's clock, seconds since boot."""
    image: int = 0
    """Differs after each exec (the address of the stack, which the kernel chooses at random); 0: can't be told."""

    @property
    def process(self) -> tuple[str, int, float]:
        """What names the process, whatever it executes."""
        return self.boot, self.pid, self.started

    def is_same(self, other: Life | None) -> bool:
        """Tell whether two lives are one, as far as can be told: the image may be unknown in either."""
        if other is None or self.process != other.process:
            return False
        return self.image == other.image or not self.image or not other.image


@dataclass(frozen=True)
class Vitals:
    """What a process and all that it started have done so far."""

    status: str
    """The kernel's letter for the process itself: R, S, D, T (stopped by a signal), t (by a debugger), Z."""
    cpu: float
    """Seconds of CPU, also of children that have ended."""
    io: int
    """Bytes read and written, also to and from the page cache."""
    faults: int
    """Major page faults."""
    memory: int
    waited: float = 0.0
    """Seconds that they could have run, had there been a free CPU."""
    waits_for_disk: bool = False
    """One of them is in an uninterruptible sleep."""
    listens: bool | None = None
    """Whether one of them listens on the instance's port; None: can't be told."""


@dataclass(frozen=True)
class Job:
    """The running job."""

    prompt_id: str
    patience: Patience = Patience.NORMAL
    place: str = ""
    """Its node and step, in words; empty: nobody tells."""


class Failure(str, Enum):
    """How a job failed, as far as it matters here."""

    NONE = ""
    STICKY = "sticky"
    """A CUDA error after which every use of the context fails."""
    CUDA = "cuda"
    OTHER = "other"


@dataclass(frozen=True)
class Finished:
    """The job that ended last."""

    prompt_id: str
    failure: Failure = Failure.NONE
    text: str = ""
    """The first line of its error."""


_CRASHES = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS"})
"""Signals that a process brings upon itself."""


@dataclass(frozen=True)
class Ending:
    """How the life before this one ended."""

    text: str = ""
    """As supervisord has it: ``exited: exit status 2; not expected`` or ``stopped: …``; empty: can't be told."""
    cause: str = ""
    """The cause's id, if it is a configuration fault: the next start would end alike."""
    explanation: str = ""

    @property
    def asked_for(self) -> bool:
        """Whether somebody had supervisord stop it."""
        return self.text.startswith("stopped")

    @property
    def told(self) -> str:
        """What befell it, as the rest of a sentence; empty: somebody asked for it, or it can't be told."""
        if not self.text or self.asked_for:
            return ""
        name = self.text.partition("terminated by ")[2].partition(";")[0].split(" ")[0]
        if not name:
            return f"ended by itself: {self.text.removeprefix('exited: ').removesuffix('; not expected')}"
        if name in _CRASHES:
            return f"crashed with {name}"
        whose = ": a kill -9, or the kernel for want of memory (see dmesg)" if name == "SIGKILL" else ""
        return f"was ended by {name} from outside, not by us{whose}"

    @property
    def clean(self) -> bool:
        """Whether it ended by itself, and well."""
        return self.text.startswith("exited: exit status 0;")


class Hand(str, Enum):
    """What our hand is doing with the instance."""

    IDLE = ""
    BUSY = "busy"
    STUCK = "stuck"
    """It sent SIGKILL, and the process is still there."""


@dataclass(frozen=True)
class Observation:
    """One look at one instance."""

    supervised: str
    """supervisord's word: RUNNING, STOPPED …; empty: it does not answer."""
    life: Life | None = None
    """What runs in the program's place; None: nothing."""
    age: float = 0.0
    """How long ago its process was started."""
    waits: bool = False
    """It is the launcher, which has not become ComfyUI yet."""
    spawn_error: str = ""
    """Why supervisord could not start it last, in its words; empty: it could."""
    lives: int = 0
    """How many times ComfyUI was started so far, as the launcher counts them; 0: can't be told."""
    hold: str = ""
    """The reason of the hold that is up: backoff, gave_up, configuration, gpu_fault, maintenance; empty: none."""
    hold_text: str = ""
    hold_cause: str = ""
    """The id of its cause, as far as who put it up knows one."""
    hold_ours: bool = False
    """We put it up, not the launcher and not an operator."""
    maintenance: bool = False
    """An operator wants nothing to be done."""
    reset: bool = False
    """An operator forgives what was counted against it."""
    reply: Reply = Reply.UNASKED
    reply_text: str = ""
    queue: int | None = None
    """Jobs running and waiting."""
    queue_seen: bool = False
    """Whether ``running`` is known: the queue was looked at since its count changed."""
    running: Job | None = None
    finished: Finished | None = None
    earlier: tuple[Finished, ...] = ()
    """Those that ended before ``finished``, the oldest first: known only where that ended with a CUDA error."""
    vitals: Vitals | None = None
    log: int = 0
    """What differs whenever its log has moved."""
    gpu: GpuSight | None = None
    device: str = ""
    """The type of the device that ComfyUI computes on, ``cuda`` or ``cpu``; empty: not known yet."""
    ending: Ending | None = None
    """How the life before ended; None: not known (yet)."""
    hand: Hand = Hand.IDLE
    worker: str = ""
    """``alive`` or ``dead``, as ComfyUI's extension sees its worker thread, which it has seen alive before; empty:
    nobody tells."""
    journal: str = "ok"
    """``degraded``: not all of its jobs are written down, as ComfyUI's extension says."""
    held: str = ""
    """Why ComfyUI's extension lets no further job begin: ``paused``, ``poisoned``; empty: one may."""
    progress: float = 0.0
    """When the extension saw the running job move last; 0: nobody tells."""
    company: bool = False
    """Others fell ill alike at the same time: then it is rather us, or the machine (see fleet)."""


@dataclass(frozen=True)
class Sample:
    """The process's figures at one moment."""

    at: float
    cpu: float
    io: int
    faults: int
    waited: float = 0.0


@dataclass(frozen=True)
class State:
    """What the policy remembers of an instance."""

    word: Word = Word.STOPPED
    since: float = 0.0
    """When the word began to hold."""
    cause: str = ""
    reason: str = ""
    ill: float | None = None
    """Since when its cause is suspected; None: nothing is."""
    seen: float = 0.0
    """The last look; 0: never."""
    life: Life | None = None
    began: float = 0.0
    """When this life began, as far as can be told."""
    waits: bool = False
    """It is the launcher, waiting."""
    answered: float | None = None
    """The last good answer in this life; None: it has not answered yet."""
    reply: Reply = Reply.UNASKED
    failing: float | None = None
    """Since when no answer was good."""
    active: float = 0.0
    """When the process was active last."""
    activity: str = ""
    """What its activity was, in words."""
    samples: tuple[Sample, ...] = ()
    log: int = 0
    log_moved: float = 0.0
    frozen: float | None = None
    """Since when the process is stopped by a signal."""
    queue: int = 0
    running: str = ""
    """The prompt_id of the running job."""
    over: bool = False
    """A job has ended since it was seen which one runs."""
    progress: float = 0.0
    """When the work moved last."""
    paused: float | None = None
    """Since when jobs wait and none runs."""
    idle: float | None = None
    """Since when there is no job."""
    finished: str = ""
    """The prompt_id of the job that ended last."""
    extension_progress: float = 0.0
    cuda_errors: int = 0
    """CUDA errors of the last jobs, in a row."""
    poisoned: str = ""
    """The sticky CUDA error that a job of this life ended with."""
    interrupted: float | None = None
    """When the running job was asked to give up."""
    alerted: tuple[str, ...] = ()
    """What was alerted in this life already."""
    healthy: float | None = None
    """Since when it works."""
    restarts: tuple[float, ...] = ()
    """Deaths and restarts within the budget's window."""
    row: int = 0
    """Deaths and restarts since it was last healthy for long."""
    given_up: bool = False
    ended: bool = False
    """We have ended this life, and wait for the next."""
    counted: float | None = None
    """Which of ``restarts`` is this life's own end, if one is."""
    acted: float | None = None
    """When a deed was given last, or our hand was last seen at work."""
    handled: float | None = None
    """Since when our hand has been at work."""
    gone: float | None = None
    """Since when nothing runs in the program's place."""
    good: int = 0
    """Good answers in a row."""
    shaky: float | None = None
    """Since when its answers can't be relied upon; None: they can."""
    proven: bool = False
    """What it is ill of was seen on its own process."""
    next_try: float | None = None
    """When the launcher tries an instance that was given up once more."""
    past: int = 0
    """How many lives were over at the last look, as the launcher counts them."""
    lasted: float = 0.0
    """How long the life before took."""
    unexplained: float | None = None
    """When a life ended of which it is not known yet whether somebody wanted it."""


@dataclass(frozen=True)
class Verdict:
    """What the policy says: how the instance is, and what to do about it."""

    word: Word
    deed: Deed = Deed.NOTHING
    cause: str = "healthy"
    reason: str = ""
    """A sentence with the figures in it."""
    life: Life | None = None
    """The life that is meant: nothing may be done to another."""
    prompt_id: str = ""
    """The job that is to give up."""
    hold: str = ""
    """The reason of a hold to put up before anything else."""
    hold_seconds: float | None = None
    """How long; None: until somebody lifts it."""

    @property
    def told(self) -> str:
        """All of it, in one line."""
        doing = "" if self.deed is Deed.NOTHING else f" [{self.deed.value}]"
        return f"{self.word.value}{doing}: {self.reason}"
