"""What a look shows that somebody should be told of, in words that help at three in the morning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..incidents.incident import Kind as Incident
from ..jobs.job import Job
from ..jobs.job import State as JobState
from ..notify.message import Event, Kind
from . import event
from .policy.evidence import ENDS, Deed, Observation, State, Verdict, Word
from .policy.rules import Rules

_KINDS: Mapping[Incident, Kind] = {
    Incident.RESTART: Kind.RESTART,
    Incident.CRASH: Kind.RESTART,
    Incident.GAVE_UP: Kind.GAVE_UP,
    Incident.GPU_FAULT: Kind.GPU_FAULT,
    Incident.CONFIGURATION: Kind.CONFIGURATION,
}
_THEN: Mapping[Kind, str] = {
    Kind.RESTART: "nothing, if it works again; comfy-supervisor audit -v {id} tells how it came to it",
    Kind.GAVE_UP: "mend the reason, then: comfy-supervisor reset {id}",
    Kind.GPU_FAULT: "look at nvidia-smi and dmesg (NVRM, Xid), then: comfy-supervisor reset {id}",
    Kind.BLIND: "comfy-supervisor status; comfy-supervisor logs comfyui-health",
    Kind.CONFIGURATION: "mend it, then: comfy-supervisor apply, or comfy-supervisor start {id}",
    Kind.RECOVERY: "nothing",
    Kind.JOURNAL: "comfy-supervisor doctor tells of a full disk; else: comfy-supervisor logs comfyui-health",
    Kind.QUARANTINE: "comfy-supervisor jobs show {job}; then jobs retry {job}, or jobs drop {job}",
}
_WELL = frozenset({Word.IDLE, Word.BUSY})
_TROUBLED = frozenset({Word.STALLED, Word.RESTARTING, Word.BACKOFF, Word.GAVE_UP, Word.GPU_FAULT, Word.BLIND})
"""How it is when an earlier listener will have told of it."""
_DEGRADED = 10.0
"""Seconds from which somebody is told that ComfyUI's extension can't keep up with writing down the jobs."""


class Alarms:
    """One instance's; tells at once, and once, whoever listens."""

    def __init__(self, program: str, instance: str, rules: Rules) -> None:
        """Keep what is needed."""
        self._program = program
        self._instance = instance
        self._rules = rules
        self.tell: Callable[[Event], None] = lambda _: None
        """Who listens; not waited for."""
        self._since: float | None = None
        """Since when somebody knows that something is wrong, seconds since the epoch."""
        self._first = True
        self._degraded: float | None = None
        """Since when the extension has not written everything down, seconds since the epoch; inf: somebody was told."""

    def look(self, before: State, after: State, seen: Observation, verdict: Verdict, wall: float) -> None:
        """Tell what a look shows; ``wall`` is now, in seconds since the epoch."""
        if self._first and before.word in _TROUBLED:
            self._since = wall - max(0.0, before.seen - before.since)
        self._first = False
        self._look_at_journal(seen, wall)
        kind, why, done = self._happened(before, after, seen, verdict)
        cause = verdict.cause if verdict.deed is not Deed.NOTHING else ""  # of a crash, none is known here
        if kind:
            self._since = wall if self._since is None else self._since
            self._say(kind, wall, why, cause, done)
        elif after.word in _WELL and self._since is not None:
            self._say(Kind.RECOVERY, wall, f"{verdict.reason}; it was {wall - self._since:.0f} s ago that it was not")
            self._since = None
        elif after.word is Word.STOPPED:
            self._since = None

    def settled(self, pairs: Iterable[tuple[Job, Job]], wall: float) -> None:
        """Tell of jobs, each as it was and as it is, that were set aside."""
        for before, job in pairs:
            if job.state is JobState.QUARANTINED and before.state is not JobState.QUARANTINED:
                charged = f"suspected of {job.suspect} deaths or stalls of ComfyUI, ran at {job.victim} others"
                why = f"job {job.prompt_id}: {charged if job.suspect or job.victim else job.note}"
                then = _THEN[Kind.QUARANTINE].format(job=job.prompt_id)
                done = "it is not tried again; the others are"
                self.tell(Event(Kind.QUARANTINE, self._program, wall, why, job.prompt_id, done, then))

    def journal(self, trouble: str, wall: float) -> None:
        """Tell of what is wrong with the journal of the jobs."""
        self._say(Kind.JOURNAL, wall, trouble, done="ComfyUI and its supervision go on; a death may now cost jobs")

    def _look_at_journal(self, seen: Observation, wall: float) -> None:
        """Tell, once it has lasted for a while, that the extension has not written everything down."""
        if seen.journal != "degraded":
            self._degraded = None
        elif self._degraded is None:
            self._degraded = wall
        elif wall - self._degraded >= _DEGRADED:
            self._degraded = float("inf")
            self.journal("ComfyUI's extension can't write down its jobs, as its log says", wall)

    def _happened(
        self, before: State, after: State, seen: Observation, verdict: Verdict
    ) -> tuple[Kind | None, str, str]:
        """Return what has happened, why, and what was done about it; None: nothing."""
        if verdict.word is Word.BLIND and verdict.deed is Deed.ALERT:
            return Kind.BLIND, verdict.reason, "nothing: it is rather the machine, or us"
        found = event.of(before, after, seen, verdict, self._rules)
        if found is None:
            return None, "", ""
        if found[0] is Incident.CRASH:
            told = seen.ending.told if seen.ending else ""
            return Kind.RESTART, f"ComfyUI {told or 'ended'}", "supervisord starts it again"
        return _KINDS[found[0]], verdict.reason, _done(verdict)

    def _say(self, kind: Kind, wall: float, why: str, cause: str = "", done: str = "") -> None:
        self.tell(Event(kind, self._program, wall, why, cause, done, _THEN[kind].format(id=self._instance)))


def _done(verdict: Verdict) -> str:
    """Return what is being done, in words."""
    ended = {Deed.RESTART: "it is being restarted", Deed.KILL: "it is killed, and started anew"}.get(verdict.deed, "")
    if verdict.hold in ("", "backoff"):
        waits = f", {verdict.hold_seconds:.0f} s later" if verdict.hold and verdict.hold_seconds else ""
        return f"{ended}{waits}" if ended else "it is held back"
    until = f"tried again in {verdict.hold_seconds / 60:.0f} min" if verdict.hold_seconds else "not started until then"
    return f"{'it is ended, and ' if verdict.deed in ENDS else ''}held back: {until}"
