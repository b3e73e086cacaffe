"""What a look shows that somebody should be told of, in words that help at three in the morning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..catalogue import TELLS_NOTHING
from ..incidents import store as incidents
from ..incidents.incident import Kind as Incident
from ..jobs.job import Job
from ..jobs.job import State as JobState
from ..notify.message import Event, Kind
from . import event
from .policy.evidence import ENDS, Deed, Life, Observation, State, Verdict, Word
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
    Kind.ALERT: "comfy-supervisor status; comfy-supervisor audit -v {id} tells how it came to it",
    Kind.QUARANTINE: "comfy-supervisor jobs show {job}; then jobs retry {job}, or jobs drop {job}",
}
_WELL = frozenset({Word.IDLE, Word.BUSY})
_TROUBLED = frozenset({Word.STALLED, Word.RESTARTING, Word.BACKOFF, Word.GAVE_UP, Word.GPU_FAULT, Word.BLIND})
"""How it is when an earlier listener will have told of it."""
_AFTERWARDS = frozenset({Word.STARTING, Word.SUSPECT})
"""How it may be after that: the next life has not answered yet, or is ill in its turn."""
_FAILED = frozenset({"FATAL", "UNKNOWN"})
"""supervisord's states of what it gave up by itself: nobody stopped it."""
_MOST_LOOKED_AT = 16
_DEGRADED = 10.0
"""Seconds from which somebody is told that ComfyUI's extension can't keep up with writing down the jobs."""


class Alarms:
    """One instance's; tells at once, and once, whoever listens."""

    def __init__(self, program: str, instance: str, rules: Rules, *, incidents: bool = True) -> None:
        """Keep what is needed; ``incidents``: whether any are written."""
        self._incidents = incidents
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
        if self._first and _was_told(before):
            self._since = wall - max(0.0, before.seen - before.since)
        self._first = False
        self._look_at_journal(seen, wall)
        told = list(self._happened(before, after, seen, verdict, wall))
        for each in told:
            self.tell(each)
        if any(each.kind is not Kind.ALERT or after.word not in _WELL for each in told):
            self._since = wall if self._since is None else self._since
        elif after.word in _WELL and self._since is not None and not told:
            self._say(Kind.RECOVERY, wall, f"{verdict.reason}; it was {wall - self._since:.0f} s ago that it was not")
            self._since = None
        elif after.word is Word.STOPPED and seen.supervised not in _FAILED:
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
        self, before: State, after: State, seen: Observation, verdict: Verdict, wall: float
    ) -> Iterator[Event]:
        """Yield what has happened, why, and what was done about it: a life may have ended, and more."""
        found = event.of(before, after, seen, verdict, self._rules)
        crashed = found is not None and found[0] is Incident.CRASH
        if found and crashed:
            told = f"ComfyUI {(seen.ending and seen.ending.told) or 'ended'}"
            yield self._of(found[1], self._event(Kind.RESTART, wall, told, "", "supervisord starts it again"))
        elif found:
            of_verdict = self._event(_KINDS[found[0]], wall, verdict.reason, verdict.cause, _done(verdict))
            yield self._of(found[1], of_verdict)
        if verdict.deed is Deed.ALERT and (found is None or crashed):
            blind = verdict.word is Word.BLIND
            done = "nothing: it is rather the machine, or us" if blind else "nothing: it is left alone"
            yield self._event(Kind.BLIND if blind else Kind.ALERT, wall, verdict.reason, verdict.cause, done)

    def _event(self, kind: Kind, wall: float, why: str, cause: str = "", done: str = "") -> Event:
        return Event(kind, self._program, wall, why, cause, done, _THEN[kind].format(id=self._instance))

    def _of(self, life: Life | None, told: Event) -> Event:
        """Return an event that an incident is written of, if any is."""
        return replace(told, life=told_of(life)) if life and self._incidents else told

    def _say(self, kind: Kind, wall: float, why: str, cause: str = "", done: str = "") -> None:
        self.tell(self._event(kind, wall, why, cause, done))


def told_of(life: Life) -> str:
    """Return what names a life's process in an event."""
    return f"{life.boot} {life.pid} {life.started!r}"


def explained(told: Event, folder: Path) -> Event | None:
    """Return an event with its incident's id and cause, by those in a folder; None: there is none yet."""
    if not told.life:
        return told
    with suppress(OSError):
        for one in islice(incidents.every(folder), _MOST_LOOKED_AT):
            if f"{one.boot} {one.pid} {one.started!r}" == told.life and _KINDS[one.kind] is told.kind:
                cause = one.cause if told.cause in TELLS_NOTHING else told.cause
                return replace(told, incident=one.id, cause=cause)
    return None


def _was_told(state: State) -> bool:
    """Tell whether an earlier listener will have told that something is wrong."""
    after_trouble = state.word in _AFTERWARDS and (state.row > 0 or bool(state.alerted))
    return state.word in _TROUBLED or after_trouble


def _done(verdict: Verdict) -> str:
    """Return what is being done, in words."""
    ended = {Deed.RESTART: "it is being restarted", Deed.KILL: "it is killed, and started anew"}.get(verdict.deed, "")
    if verdict.hold in ("", "backoff"):
        waits = f", {verdict.hold_seconds:.0f} s later" if verdict.hold and verdict.hold_seconds else ""
        return f"{ended}{waits}" if ended else "it is held back"
    until = f"tried again in {verdict.hold_seconds / 60:.0f} min" if verdict.hold_seconds else "not started until then"
    return f"{'it is ended, and ' if verdict.deed in ENDS else ''}held back: {until}"
