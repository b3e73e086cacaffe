"""Looks at an instance, made by hand: a builder, and a listener's day without a listener."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from comfy_supervisor.health.policy.evidence import (
    ENDS,
    Deed,
    Finished,
    Job,
    Life,
    Observation,
    Reply,
    State,
    Verdict,
    Vitals,
    Word,
)
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.watching import FAST

LIFE = Life("boot", 100, 50.0, 7)
CLOSELY = frozenset({Word.SUSPECT, Word.STALLED, Word.RESTARTING, Word.BLIND})
FAST_RULES = replace(Rules(), **dict[str, Any](FAST))
"""The preset for short jobs."""
MIB = 1024 * 1024
GIB = 1024 * MIB


def seen(**changes: Any) -> Observation:
    """Return a look at an instance that works and has no job, with changes."""
    usual = Observation("RUNNING", LIFE, age=60.0, reply=Reply.GOOD, queue=0, queue_seen=True, device="cuda")
    return replace(usual, **{"vitals": vitals(), **changes})


def vitals(status: str = "S", cpu: float = 1.0, io: int = 0, **more: Any) -> Vitals:
    return Vitals(status, cpu, io, more.pop("faults", 0), more.pop("memory", GIB), **more)


def runs(job: str = "job-1", waiting: int = 0, **more: Any) -> dict[str, Any]:
    """Return what a look shows while a job runs."""
    return {"queue": 1 + waiting, "queue_seen": True, "running": Job(job, **more)}


DEAF: dict[str, Any] = {"reply": Reply.TIMEOUT, "reply_text": "no answer in 5 s", "queue": None, "queue_seen": False}
REFUSED: dict[str, Any] = {**DEAF, "reply": Reply.REFUSED, "reply_text": "connection refused"}
UNASKED: dict[str, Any] = {**DEAF, "reply": Reply.UNASKED, "reply_text": "too many open files"}
WAITS: dict[str, Any] = {**DEAF, "waits": True, "reply": Reply.UNASKED, "vitals": None}
NOBODY: dict[str, Any] = {**WAITS, "waits": False, "life": None, "supervised": "BACKOFF"}


def new_life(pid: int = 101, **more: Any) -> dict[str, Any]:
    return {"life": Life("boot", pid, 50.0 + pid, pid), "age": 0.0, **more}


def finished(job: str, **more: Any) -> Finished:
    return Finished(job, **more)


@dataclass
class Day:
    """A listener's day: it looks every 5 s, every 1 s at what is suspect, and stops where a life is ended."""

    rules: Rules = field(default_factory=Rules)
    state: State = field(default_factory=State)
    now: float = 1000.0
    verdict: Verdict = field(default_factory=lambda: Verdict(Word.STOPPED))
    deeds: list[tuple[float, Verdict]] = field(default_factory=list)
    cpu: float = 1.0
    io: int = 0
    log: int = 0
    faults: int = 0
    waited: float = 0.0

    def look(self, **changes: Any) -> Verdict:
        """Look once; the process's counters stand where they are, unless vitals are given."""
        if "vitals" not in changes:
            changes["vitals"] = self.body()
        self.state, self.verdict = judge(self.state, seen(log=self.log, **changes), self.now, self.rules)
        if self.verdict.deed is not Deed.NOTHING:
            self.deeds.append((self.now, self.verdict))
        return self.verdict

    def body(self, status: str = "S", **more: Any) -> Vitals:
        return vitals(status, self.cpu, self.io, faults=self.faults, waited=self.waited, **more)

    def run(
        self,
        seconds: float,
        cores: float = 0.0,
        starved: float = 0.0,
        pace: float = 0.0,
        log: int = 0,
        status: str = "S",
        body: dict[str, Any] | None = None,
        each: Callable[[float], dict[str, Any]] | None = None,
        **changes: Any,
    ) -> Verdict:
        """Look on for so long.

        Each second ``cores`` are used and ``starved`` waited for, ``pace`` bytes moved and ``log`` bytes logged;
        ``each`` gives further changes for a look so many seconds after the first.
        """
        began = self.now
        while self.now <= began + seconds:
            further = each(self.now - began) if each else {}
            figures = {} if "vitals" in changes else {"vitals": self.body(status, **(body or {}))}
            self.look(**figures, **{**changes, **further})
            if self.verdict.deed in ENDS:
                break
            step = self.rules.suspect_every if self.verdict.word in CLOSELY else self.rules.probe_every
            self.now += step
            self.cpu += cores * step
            self.waited += starved * step
            self.io += int(pace * step)
            self.log += int(log * step)
        return self.verdict

    def working(self, seconds: float = 30.0) -> Day:
        """Let it work for a while, first of all."""
        self.run(seconds)
        self.deeds.clear()
        return self

    def done(self) -> list[str]:
        """Return what was done, in order."""
        return [verdict.deed.value for _, verdict in self.deeds]

    def word(self) -> Word:
        return self.verdict.word

    @property
    def first(self) -> float:
        """When something was done first."""
        return self.deeds[0][0]


def took(day: Day, since: float) -> float:
    """Return how long it took until the life was ended."""
    assert day.verdict.deed in ENDS, day.verdict
    return day.now - since
