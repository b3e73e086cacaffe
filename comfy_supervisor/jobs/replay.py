"""Puts unfinished jobs back into ComfyUI's queue: looks first, keeps their order, and no suspect beside another job."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from . import snapshot
from .comfy import Reply, Server, Taken
from .job import Job, Life, State
from .journal import Journal

DOUBT = 2.0
"""Seconds after a submission without an answer in which ComfyUI may still come to it: then is looked again."""
TRIES = 3
"""Submissions that nobody can tell the end of, after which a job is set aside."""
RARELY = 30.0
"""Seconds between two looks at a queue that only suspects wait for, while the journal knows of jobs in it."""
PATIENCE = 600.0
"""Seconds for which a job that ComfyUI refuses, or can't tell the end of, is tried again while the others go on: its
models may lie on a share that is mounted late …"""
REFUSED = 30.0
"""… and between two of these tries."""


@dataclass
class Replay:
    """One life's; to be used by one thread."""

    journal: Journal
    comfy: Server
    life: Life
    aside: Callable[[Job, str], None]
    """Hears of each job that is set aside, and why."""
    say: Callable[[str], None]
    """Hears what else is worth a line in the log."""
    goes_on: Callable[[], bool]
    """Tells whether the life does, and may be given work."""
    lost: Counter[str] = field(default_factory=Counter)
    """How often a job was submitted without anybody knowing what became of that."""
    unseen: set[str] = field(default_factory=set)
    """Of which jobs it could not be told whether they have ended."""
    doubted: float = float("-inf")
    looked: float = float("-inf")
    """When the queue was looked at last, for suspects alone."""
    refused: dict[str, tuple[float, float]] = field(default_factory=dict)
    """When a job was refused, or its end could not be told, first, and last."""
    now: float = float("-inf")
    """When this turn began."""

    def turn(self, now: float) -> bool:
        """Submit what is to be submitted; return whether that was all of it. ``now``: CLOCK_MONOTONIC."""
        self.now = now
        if now - self.doubted < DOUBT or not self._seen_off():
            return False
        waiting = self.journal.to_submit()
        due = [job for job in waiting if self._is_due(job)]
        if due and due[0].suspect and (self._is_held(waiting) or self._has_company(now)):
            return False
        here = snapshot.here(self.journal, self.comfy, self.life) if due else None
        if here is None:
            return not waiting
        return self._all_settled(due, here) and len(due) == len(waiting)

    def _all_settled(self, due: Iterable[Job], here: Collection[str | None]) -> bool:
        """Find the jobs, or submit them, as far as may be; return whether that was all of them."""
        submitted = behind = False
        for job in due:
            in_company = job.prompt_id not in here and (here or submitted)
            if not self.goes_on() or (job.suspect and (in_company or behind or not self._is_alone())):
                return False
            done = self._settled(job, here)
            if done is None:
                return False
            submitted |= done
            behind |= job.prompt_id in self.refused
        return not behind

    def _is_due(self, job: Job) -> bool:
        """Tell whether a job may be submitted now; one that was refused may a while later."""
        return job.prompt_id not in self.refused or self.now - self.refused[job.prompt_id][1] >= REFUSED

    def _is_held(self, waiting: Iterable[Job]) -> bool:
        """Tell whether suspects wait for another job that is to be tried again."""
        return any(job.prompt_id in self.refused for job in waiting if not job.suspect)

    def _has_company(self, now: float) -> bool:
        """Tell whether the journal knows of jobs in the queue, which may be long to read; rarely, that is doubted."""
        if not self.journal.in_queue(self.life):
            return False
        if now - self.looked < RARELY:
            return True
        self.looked = now
        return False

    @property
    def _is_outside(self) -> bool:
        """Whether what becomes of the jobs is only seen from outside."""
        return self.life.witness == "listener"

    def _is_alone(self) -> bool:
        """Tell whether all that was submitted before is known to have ended: else that might be taken for the one that
        ran, should ComfyUI die of this job."""
        if self._is_outside and self.journal.in_queue(self.life):
            snapshot.follow(self.journal, self.comfy, self.life, self.goes_on)
            return not self.journal.in_queue(self.life)
        return True

    def _seen_off(self) -> bool:
        """Find out what became of a submission without an answer, seen from outside; return whether that is known.

        One of an earlier listener's, which was killed, is given its time as well.
        """
        if not self._is_outside or not self.journal.in_doubt(self.life):
            return True
        if self.doubted == float("-inf"):
            self.doubted = self.now
            return False
        return snapshot.follow(self.journal, self.comfy, self.life, self.goes_on, ends_doubt=True)

    def _settled(self, job: Job, here: Collection[str | None]) -> bool | None:
        """Find the job, or submit it; return whether it came into the queue by that, None: nobody knows."""
        if job.prompt_id in here:
            self.journal.found(job, self.life, State.QUEUED)
            return False  # it was there before, and counts as that
        ended = self.comfy.ended(job.prompt_id, job.number)
        if ended is None:
            self._put_off(job)
            return None
        if ended.state is not None:
            # what met a ruined GPU goes on; whether it did it, is told where a life's jobs are followed
            state = State.QUEUED if ended.of_ruin else ended.state
            self.journal.found(job, self.life, state, ended.note)
            return False
        if self.lost[job.prompt_id] >= TRIES:
            self._set_aside(job, f"it could not be submitted in {TRIES} tries")
            return False
        body = self.journal.body(job.seq)
        if body is None:
            self._set_aside(job, "its graph is not kept, since it could not be written down")
            return False
        return self._submitted(job, body)

    def _submitted(self, job: Job, body: dict[str, object]) -> bool | None:
        if not self.journal.submitting(job, self.life):
            return False
        reply = self.comfy.submit(job.prompt_id, job.number, body)
        if reply.taken is Taken.YES:
            self.refused.pop(job.prompt_id, None)
            self.journal.found(job, self.life, State.QUEUED, _note(job, reply), reply.prompt_id)
            return True
        if reply.taken is Taken.NO:
            self._refuse(job, f"ComfyUI refuses it now: {reply.text}")
            return False
        self.lost[job.prompt_id] += 1
        self.doubted = time.monotonic()
        return None

    def _put_off(self, job: Job) -> None:
        """Ask for a job's end soon once more, then rarely, while the others go on: it isn't the job's fault."""
        self.doubted = time.monotonic()
        if job.prompt_id in self.unseen:
            self._refuse(job, "ComfyUI's history does not tell whether it has ended")
        else:
            self.unseen.add(job.prompt_id)

    def _refuse(self, job: Job, why: str) -> None:
        """Have a job that is refused tried again, and set aside once that has gone on for long."""
        if not self.refused:
            self.say(f"job {job.prompt_id}: {why}; such jobs are tried again for {PATIENCE / 60:g} minutes")
        first, _ = self.refused.get(job.prompt_id, (self.now, self.now))
        self.refused[job.prompt_id] = first, self.now
        if self.now - first < PATIENCE:
            self.journal.unsubmitted(job, why)
        else:
            self._set_aside(job, why)

    def _set_aside(self, job: Job, why: str) -> None:
        """Put a job into quarantine; should an operator have it tried again, it begins anew."""
        self.refused.pop(job.prompt_id, None)
        del self.lost[job.prompt_id]
        self.unseen.discard(job.prompt_id)
        if self.journal.set_aside(job, why):
            self.aside(job, why)


def _note(job: Job, reply: Reply) -> str:
    return "" if reply.prompt_id == job.prompt_id else f"was {job.prompt_id}: this ComfyUI chooses its jobs' ids"
