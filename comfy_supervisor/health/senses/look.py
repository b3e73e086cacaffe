"""One instance's senses: supervisord's word, the process, the API and the launcher's hold, in one observation."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from ... import rpc
from ...gpu import watch as gpu_watch
from ...launch import holds, lastword, records, starts
from ...model import GpuSight
from .. import orders
from ..hand import LISTENER
from ..policy.evidence import Ending, Job, Life, Observation, Reply
from ..watched import Watched
from . import heartbeat, vitals
from .api import Api, Running
from .ended import Ended
from .heartbeat import Heartbeat
from .patience import patience
from .start import FailedStarts

_QUEUE_EVERY = 6
"""Looks between two at the whole queue, which has every graph in it: half a minute …"""
_CLOSELY = 1 / 6
"""… and so much of the time that a job may stand still, where one does: then it fills up and nothing else happens."""
_TRIES = 3
"""How often the device is asked for, which is work for ComfyUI's event loop."""


@dataclass
class _Known:
    """What has been found out about the life that runs."""

    life: Life
    since: float
    ended: Ended
    ending: Ending | None = None
    answered: bool = False
    device: str = ""
    asked_device: int = 0
    """How often."""
    queue: int = 0
    """Its count when it was last looked at."""
    queue_at: float | None = None
    """When that was; None: its count has changed since the last look."""
    queue_asked: float = float("-inf")
    confirmed: bool = False
    """It was looked at since the instance became suspect."""
    running: Running | None = None


class Senses:
    """Looks at one instance, from one thread; what it can't see it says so, and raises nothing."""

    def __init__(self, watched: Watched, supervisor: rpc.Supervisor, gpus: gpu_watch.Watch) -> None:
        """Keep what is needed; looks at nothing yet."""
        self._watched = watched
        self._supervisor = supervisor
        self._gpus = gpus
        self.api = Api(watched.url)
        """For the same thread alone."""
        self._body = vitals.Body(watched.port)
        self._known: _Known | None = None
        self._starts = FailedStarts(watched.log)

    def acquaint(self, life: Life, answered: bool) -> None:
        """Take over what an earlier listener knew of the last life, whose end may have come since."""
        self._known = _Known(life, time.monotonic(), self._ended(), answered=answered)

    def _ended(self) -> Ended:
        return Ended(self.api, self._watched.log, self._watched.rules)

    def look(self, now: float, *, suspect: bool, decides: bool = False) -> Observation:
        """Return what is to be seen; takes a few of ``rules.deadline`` at most.

        ``suspect``: look closely. ``decides``: whether the running job is ended hangs on this look.
        """
        seen = self._surroundings()
        process = self._supervisor.process(self._watched.program)
        if isinstance(process, rpc.Failure):
            fault = process.name if isinstance(process, rpc.Fault) else ""
            gone = fault == "BAD_NAME"  # supervisord knows it no longer
            text = rpc.ENDING if fault == "SHUTDOWN_STATE" else str(process)
            return replace(seen, supervised="STOPPED" if gone else "", reply_text=text)
        seen = replace(seen, supervised=process.statename, spawn_error=process.refusal)
        body = self._body.look(process.pid) if process.pid else None
        if body is None:
            return seen
        known = self._acquaintance(body.life, now)
        seen = replace(seen, life=body.life, age=body.age, waits=body.waits, ending=known.ending, vitals=body.vitals)
        if body.waits:
            return replace(seen, vitals=None)
        seen = replace(seen, gpu=self._gpu(body.pids, known.since))
        seen = self._ask(seen, known, now, suspect=suspect, decides=decides)
        if body.vitals.listens is False and seen.reply is not Reply.REFUSED:
            again = self._body.look(process.pid)  # it may have begun to listen since it was looked at
            return replace(seen, vitals=again.vitals) if again and again.life == body.life else seen
        return seen

    def _surroundings(self) -> Observation:
        """Return what lies on the disk."""
        run = self._watched.run
        reset = orders.heard_reset(run)
        if reset:
            self._forget_faults()
        try:
            hold = holds.read(run)
        except records.MalformedError:
            hold = None
        return Observation(
            supervised="",
            lives=self._lives(),
            hold=hold.reason if hold else "",
            hold_text=hold.text if hold else "",
            hold_cause=hold.cause if hold else "",
            hold_ours=hold is not None and hold.by == LISTENER,
            maintenance=orders.maintenance(self._watched.state),
            reset=reset,
            log=vitals.log_mark(self._watched.log),
        )

    def _lives(self) -> int:
        """Return how many times ComfyUI was started so far; 0: can't be told."""
        try:
            last = starts.load(self._watched.state, vitals.boot_id(), starts.uptime())
        except records.MalformedError:
            return 0
        return last.lives if last else 0

    def _gpu(self, pids: frozenset[int], since: float) -> GpuSight | None:
        """Return what was seen of its GPU last, which costs no time; None: it has none."""
        if not self._watched.gpu:
            return None
        return self._gpus.sight(self._watched.gpu, pids, since)

    def _acquaintance(self, life: Life, now: float) -> _Known:
        """Return what is known of this life; of a new one, how the last one ended."""
        known = self._known
        if known is None or known.life != life:
            same_process = known is not None and known.life.process == life.process
            ending = known.ending if known and same_process else self._ending(known)
            self.api.forget()
            self._known = known = _Known(life, now, self._ended(), ending)
            if ending and ending.asked_for and not same_process:
                self._forget_faults()
        return known

    def _forget_faults(self) -> None:
        """Hold nothing against the next start: somebody wants it, and may have mended what was wrong."""
        if self._watched.gpu:
            self._gpus.forget(self._watched.gpu)
        if self._known and self._known.ending and not self._known.ending.asked_for:
            self._known.ending = Ending()

    def _ending(self, last: _Known | None) -> Ending | None:
        if last is None:
            return None
        name = self._watched.program.rpartition(":")[2]
        text = lastword.ending(self._supervisor.url, name, last.life.pid)
        ending = Ending(text)
        if last.answered or ending.clean or not text.startswith("exited: "):
            self._starts.forget()
            return ending
        return self._starts.judge(text)

    def _ask(self, seen: Observation, known: _Known, now: float, *, suspect: bool, decides: bool) -> Observation:
        """Return the observation with what the API says."""
        deadline = self._watched.rules.deadline
        said = self.api.prompt(deadline)
        seen = replace(seen, reply=said.reply, reply_text=said.text, queue=said.queue)
        if said.reply is not Reply.GOOD or said.queue is None:
            return replace(seen, device=known.device)
        known.answered = True
        if not known.device and known.asked_device < _TRIES:
            known.asked_device += 1
            known.device = self.api.device(deadline)
        beat = heartbeat.read(self._watched.run, known.life, now)
        known.ended.look((said.queue, *(_work(beat) if beat else ())), now, by_log=beat is None)
        seen = replace(seen, device=known.device, finished=known.ended.last, earlier=known.ended.earlier)
        if beat is not None:
            return self._told(seen, beat, said.queue, suspect=suspect)
        self._look_at_queue(
            known, said.queue, now, suspect=suspect, pause=self._queue_pause(suspect=suspect, decides=decides)
        )
        return replace(
            seen,
            queue_seen=known.queue_at is not None or not said.queue,
            running=self._job(known.running, suspect=suspect) if said.queue else None,
        )

    def _told(self, seen: Observation, beat: Heartbeat, queue: int, *, suspect: bool) -> Observation:
        """Return the observation with what ComfyUI's own process tells of its work: no look at the queue is needed."""
        running = Running(beat.prompt_id, frozenset(beat.classes)) if beat.prompt_id and queue else None
        job = self._job(running, suspect=suspect)
        return replace(
            seen,
            queue_seen=bool(running or beat.held or any(beat.queue) or not queue),  # else it has just begun to fill
            running=replace(job, place=beat.place) if job else None,
            worker="" if beat.worker == "unseen" else beat.worker,
            journal=beat.journal,
            held=beat.held,
            progress=beat.progress_at,
        )

    def _queue_pause(self, *, suspect: bool, decides: bool) -> float:
        """Return how many seconds lie between two looks at the queue: the answer has every waiting job's graph in it.

        One that decides is worth any answer.
        """
        rules = self._watched.rules
        if decides:
            return 0.0
        return min(rules.interrupt_wait, _CLOSELY * rules.stall_after) if suspect else _QUEUE_EVERY * rules.probe_every

    def _look_at_queue(self, known: _Known, queue: int, now: float, *, suspect: bool, pause: float) -> None:
        """Look at what runs, if that may have changed, and not too often."""
        if queue != known.queue:
            known.queue, known.queue_at = queue, None
        if not queue:
            known.running = None
            return
        known.confirmed = known.confirmed and suspect
        wanted = known.queue_at is None or known.running is None or (suspect and not known.confirmed)
        if wanted and now - known.queue_asked >= pause:
            known.queue_asked = now
            answer = self.api.running(self._watched.rules.deadline)
            if answer is not None:
                known.running, known.queue_at, known.confirmed = answer.job, now, suspect

    def _job(self, running: Running | None, *, suspect: bool) -> Job | None:
        """Return the running job, and, where it is suspect, how patient its nodes are to be met."""
        if running is None:
            return None
        remote = self.api.remote_nodes(running.classes, self._watched.rules.deadline) if suspect else ()
        return Job(running.prompt_id, patience(running.classes, remote, self._watched.patient_nodes))


def _work(beat: Heartbeat) -> tuple[object, ...]:
    """Return what differs whenever a job may have ended; a step of the running one is no end."""
    return beat.prompt_id, 0.0 if beat.prompt_id else beat.progress_at
