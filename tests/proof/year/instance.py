"""One ComfyUI as it really is: it starts, works, falls ill, dies; with its users and its operator."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from comfy_supervisor.health.policy.evidence import Ending, Finished, Life, Reply

from .accounts import Accounts
from .clockwork import Clockwork
from .faults import AILS, Ail
from .load import Job, Load
from .queues import Kept, Memory

if TYPE_CHECKING:
    from .watchers import Watcher

STICKY = "CUDA error: an illegal memory access was encountered"
_HARMS = frozenset({"worker_dead", "stall", "deadlock", "spin", "stuck"})
"""What befalls the instance in the midst of a job."""
_CRASHED = "exited: terminated by SIGSEGV; not expected"
_KILLED = "exited: terminated by SIGKILL; not expected"
_MIB = 1024 * 1024


class Place(Enum):
    """Where an instance is in its life."""

    GONE = "gone"
    LAUNCHER = "launcher"
    STARTING = "starting"
    UP = "up"
    STOPPED = "stopped"
    """By an operator."""


@dataclass
class Body:
    """What a process has used so far, and what it uses now."""

    at: float = 0.0
    cpu: float = 0.0
    io: float = 0.0
    cores: float = 0.0
    pace: float = 0.0
    """Bytes a second."""

    def use(self, now: float, cores: float, pace: float = 0.0) -> None:
        """Use so much from now on."""
        self.cpu += self.cores * (now - self.at)
        self.io += self.pace * (now - self.at)
        self.at, self.cores, self.pace = now, cores, pace


class Instance:
    """The truth of one instance; the watcher sees what ``seen`` of it shows."""

    def __init__(
        self, number: int, clockwork: Clockwork, load: Load, chance: random.Random, accounts: Accounts
    ) -> None:
        """Be stopped, with nothing to do; ``watcher`` and ``queue`` have to be given."""
        self.name = f"gpu{number}"
        self.clockwork, self.load, self.chance, self.accounts = clockwork, load, chance, accounts
        self.watcher: Watcher
        self.queue: Kept | Memory
        self.place, self.ail = Place.GONE, None  # type: Place, Ail | None
        self.boot, self.pid, self.started, self.image = 0, 1000 * (number + 1), 0.0, 0
        self.since = 0.0
        self.epoch = 0
        """Differs for each stretch of its life: what was to happen in an earlier one does not."""
        self.body = Body()
        self.log = 0
        self.onset: tuple[str, float] | None = None
        """What is wrong, and since when, until it works again."""
        self.unnoticed = False
        self.broken = ""
        """An update has: ``crash_loop``, ``misconfigured``; ``port_taken``; ``hangs`` in its start."""
        self.gpu = ""
        """What is wrong with its GPU."""
        self.paused = False
        self.planned = False
        """An operator has stopped it."""
        self.ending: Ending | None = Ending("")
        self.finished: Finished | None = None
        self.moved = 0.0
        """When its job made progress last."""
        self.waiting: deque[Job] = deque()
        """What its users could not submit yet."""
        self._accounted = 0.0
        self._job_ends, self._job_left, self._job_token = 0.0, 0.0, 0
        self._job_goes_on = False
        self.asleep = False
        self.expected = 0
        """Which of the jobs that were expected is; who sleeps expects another."""

    # time

    def later(self, seconds: float, deed: Callable[..., None], *arguments: Any) -> None:
        """Have something happen, unless its life takes another turn before."""
        self.clockwork.at(self.clockwork.now + seconds, self._if_still, self.epoch, deed, arguments)

    def _if_still(self, epoch: int, deed: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if epoch == self.epoch:
            deed(*arguments)

    @property
    def now(self) -> float:
        """The time."""
        return self.clockwork.now

    @property
    def is_well(self) -> bool:
        """Whether it could work."""
        return self.place is Place.UP and (self.ail is None or self.ail.honest)

    @property
    def answers(self) -> bool:
        """Whether its API does."""
        return self.place is Place.UP and (self.ail is None or self.ail.reply is Reply.GOOD)

    def account(self) -> None:
        """Count the time until now: to be called before anything changes."""
        should = not (self.planned or self.paused)
        self.accounts.passed(self._accounted, self.now, should=should, could=self.is_well)
        self._accounted = self.now

    def shift(self, seconds: float) -> None:
        """Stand still, with the whole machine."""
        self._accounted += seconds
        self.body.at += seconds
        self.moved += seconds
        self._job_ends += seconds

    def note(self, what: str) -> None:
        """Keep what happened."""
        self.clockwork.note(self.name, what)

    # lives

    def _become(self, place: Place) -> None:
        self.account()
        self.place, self.since = place, self.now
        self.epoch += 1
        self._job_token += 1
        self.note(place.value)

    def spawn(self) -> None:
        """supervisord starts the program."""
        self.pid += 1
        self.started = self.now
        self.body = Body(self.now)
        self._become(Place.LAUNCHER)
        self.watcher.launch(self)

    def execute(self) -> None:
        """Become ComfyUI, which takes its time to start."""
        self.image += 1
        self._become(Place.STARTING)
        self.finished = None
        seconds = self.chance.lognormvariate(3.0, 0.6)
        luck = self.chance.random()
        if self.broken == "misconfigured":
            self.later(1.5, self.end, "exited: exit status 2; not expected")
        elif self.broken == "port_taken":
            self.later(seconds, self.end, "exited: exit status 1; not expected")
        elif luck < 0.003:
            self.trouble("hangs")
            self.body.use(self.now, 0.0)
        else:
            slow = self.chance.uniform(120, 480) if luck < 0.02 else 0.0
            self.body.use(self.now, 0.5)
            self.later(seconds + slow, self._come_up)

    def _come_up(self) -> None:
        self._become(Place.UP)
        self.body.use(self.now, 0.0)
        self.queue.up()
        self.watcher.up(self)
        if self.gpu:
            self.ail = AILS["gpu_lost"]
        elif self.broken == "crash_loop":
            self.later(30.0, self.end, _CRASHED)
        else:
            self._mended()
        self._share()
        self._welcome()

    def _share(self) -> None:
        """Be befallen by what befalls the whole machine."""
        name, until = self.clockwork.outage
        if until - self.now >= 1.0:
            self.sicken(AILS[name], until - self.now)

    def trouble(self, name: str) -> None:
        """Note that something is wrong from now on."""
        if self.onset is None:
            self.onset, self.unnoticed = (name, self.now), True
        self.accounts.befell[name] += 1
        self.note(f"befallen by {name}")

    def noticed(self) -> None:
        """Note that it was acted upon or said."""
        if self.onset and self.unnoticed:
            self.accounts.noticed[self.onset[0]].append(self.now - self.onset[1])
        self.unnoticed = False

    def _mended(self) -> None:
        if self.onset:
            self.accounts.mended[self.onset[0]].append(self.now - self.onset[1])
        self.onset, self.unnoticed = None, False

    def end(self, text: str, cause: str = "") -> None:
        """End, as supervisord tells it; ``cause``: why the listener did it."""
        if self.place in (Place.GONE, Place.STOPPED):
            return
        was_comfyui = self.place is not Place.LAUNCHER
        self._forget(text)
        if was_comfyui:
            self.queue.down(text, cause)
        self.watcher.ended(self, was_comfyui)
        self.later(self.chance.uniform(0.2, 1.0), self.spawn)

    def _forget(self, text: str) -> None:
        fault = ("flag_unknown", "an option that it does not know") if "status 2" in text else ("", "")
        self._become(Place.GONE)
        self.ail, self.ending = None, Ending(text, *fault)
        self.unnoticed = False  # whatever it was, it has ended
        self.note(text)

    def died(self, text: str) -> None:
        """Its job has ended its life."""
        if self.onset is None:
            self.trouble("kills")
        text = text if text.startswith(("exited", "stopped")) else f"exited: {text}; not expected"
        if self.place is Place.UP:
            self._forget(text)
            self.watcher.ended(self, True)
            self.later(self.chance.uniform(0.2, 1.0), self.spawn)

    def reexec(self) -> None:
        """ComfyUI-Manager restarts it in the same process."""
        if isinstance(self.queue, Kept):
            self.queue.reexec()
        else:
            self.queue.down("")
        self.ail = None
        self.execute()

    @property
    def life(self) -> Life | None:
        """What runs."""
        if self.place in (Place.GONE, Place.STOPPED):
            return None
        return Life(f"boot {self.boot}", self.pid, self.started, 0 if self.place is Place.LAUNCHER else self.image)

    # illness

    def sicken(self, ail: Ail, lasts: float = 0.0) -> bool:
        """Fall ill, if it is well; ``lasts``: seconds, 0: until somebody mends it. Tell whether it did."""
        if self.place is not Place.UP or self.ail is not None:
            return False
        self.account()
        if ail.honest:
            self.accounts.befell[ail.name] += 1
            self.note(f"seems ill: {ail.name}")
        else:
            self.trouble(ail.name)
        self.ail = ail
        if not ail.works:
            self._halt()
        self._use()
        if lasts:
            self.later(lasts, self._recover, ail)
        return True

    def _recover(self, ail: Ail) -> None:
        if self.ail is not ail:
            return
        self.account()
        self.ail = None
        self.note(f"{ail.name} has passed")
        if not ail.honest:
            self._mended()
        self._share()
        if self.queue.running and not ail.works and (self.ail is None or self.ail.works):
            self._go_on()
        self._welcome()

    def _use(self) -> None:
        """Use what it uses now."""
        ail, job = self.ail, self.queue.running
        cores, pace = (ail.cpu if ail else 0.0), 0.0
        if job and (ail is None or ail.works):
            shows = job.fault.shows if job.fault else "steps"
            cores += {"steps": 0.8, "": 0.8, "cpu": 0.9}.get(shows, 0.0)
            pace = 40.0 * _MIB if shows == "io" else 0.0
        self.body.use(self.now, cores, pace)

    # jobs

    def arrive(self, job: Job) -> None:
        """A user submits a job, and tries until it is accepted."""
        self.waiting.append(job)
        self._welcome()

    def _welcome(self) -> None:
        while self.waiting and self.answers:
            self.queue.accept(self.waiting.popleft())
        self.pump()

    def pump(self) -> None:
        """Have the worker take a job, if it can."""
        able = self.place is Place.UP and (self.ail is None or self.ail.works)
        if self.queue.running or (self.paused and isinstance(self.queue, Memory)):
            return
        if not able:
            self._doom()
            return
        job = self.queue.take()
        if job is None:
            return
        self.moved, self._job_left = self.now, job.seconds
        self._go_on()

    def _go_on(self) -> None:
        """Work at the running job."""
        job = self.queue.running
        assert job
        self._job_token += 1
        self._job_goes_on = True
        self.moved = self.now
        self._job_ends = self.now + self._job_left
        self._use()
        fault = job.fault.name if job.fault and job.runs == 1 else ""
        when = 0.3 * job.seconds
        if fault in _HARMS and self._job_left > job.seconds - when:
            self.later(when, self._harm, self._job_token, fault)
        self.later(self._job_left, self._finish, self._job_token)

    def _halt(self) -> None:
        """Stand still with the running job."""
        if self.queue.running and self._job_goes_on:
            self._job_left = max(0.125, self._job_ends - self.now)
            self.moved = self.now
        self._job_goes_on = False
        self._job_token += 1

    def _harm(self, token: int, fault: str) -> None:
        if token == self._job_token:
            self.sicken(AILS[fault])

    def _finish(self, token: int) -> None:
        if token != self._job_token:
            return
        job = self.queue.running
        assert job
        fault = job.fault.name if job.fault and job.runs == 1 else ""
        if fault == "oom_killed":
            self.trouble(fault)
            self.end(_KILLED)
        elif fault == "poisoned" or self.ail is AILS["poisoned"]:
            self._poison(job)
        else:
            self._end_job(job)

    def _poison(self, job: Job) -> None:
        self.queue.fail()
        self._poisoned(job)

    def _poisoned(self, job: Job) -> None:
        self.finished = self.watcher.finished(job, STICKY)
        if self.ail is not AILS["poisoned"]:
            self.account()
            self.ail = None
            self.sicken(AILS["poisoned"])
            self.watcher.alarm(self)
        self._doom()

    def _doom(self) -> None:
        """On a GPU that is of no use the next job fails at once, where nothing holds it back."""
        job = self.queue.take() if self.ail is AILS["poisoned"] and isinstance(self.queue, Memory) else None
        if job:
            self._job_token += 1
            self.later(1.0, self._finish, self._job_token)

    def _end_job(self, job: Job) -> None:
        how = self.queue.finish()
        if how == "died":
            if isinstance(self.queue, Memory):
                self.trouble("kills")
                self.end(_CRASHED)
            return
        if how == "poisoned":
            self._poisoned(job)
            return
        if how in ("done", "failed"):
            job.end(self.now)
        self.finished = self.watcher.finished(job, "")
        self.moved = self.now
        self._use()
        self.pump()

    def give_up(self) -> None:
        """The running job is asked to give up, and does so if it can."""
        ail = self.ail
        if self.queue.running is None or (ail is not None and ail.name != "stall"):
            return
        self.account()
        self.ail = None
        if ail:
            self._mended()
        job = self.queue.running
        self.later(0.5, self._given_up, self._job_token, job)

    def _given_up(self, token: int, job: Job) -> None:
        if token == self._job_token and self.queue.running is job:
            self._job_token += 1
            self._end_job(job)

    # its operator, and whoever looks in the morning

    def stop(self, seconds: float) -> None:
        """An operator stops it for so long."""
        self.note("an operator stops it")
        self.account()
        self.planned = True
        if self.place not in (Place.GONE, Place.STOPPED):
            if self.place is not Place.LAUNCHER:
                self.queue.down("stopped: terminated by SIGINT")
            self._forget("stopped: terminated by SIGINT")
        self._become(Place.STOPPED)
        self.onset = None
        self.watcher.stopped(self)
        self.later(seconds, self.start)

    def start(self) -> None:
        """An operator starts it."""
        self.account()
        self.planned = False
        self.watcher.restarted(self)
        self._become(Place.GONE)
        self.later(0.2, self.spawn)

    def restart(self, by: str) -> None:
        """An operator restarts it."""
        self.note(f"{by} restarts it")
        self.accounts.restarts[by] += 1
        if self.place not in (Place.GONE, Place.STOPPED):
            if self.place is not Place.LAUNCHER:
                self.queue.down("stopped: terminated by SIGINT")
            self._forget("stopped: terminated by SIGINT")
        self.watcher.restarted(self)
        self._become(Place.GONE)
        self.later(0.2, self.spawn)

    def morning(self) -> None:
        """Somebody looks whether it works, and mends it by hand if it doesn't."""
        resting = self.planned or self.paused or (self.is_well and not self.broken)
        if resting or (self.place is Place.STARTING and self.now - self.since < 900 and not self.broken):
            return
        if self.now - (self.onset[1] if self.onset else self.since) < 900:
            return
        self.broken = self.gpu = ""
        self.watcher.forgiven(self)
        self.restart("a person")

    def pause(self, *, on: bool) -> None:
        """An operator has no further job begun, or again."""
        self.account()
        self.paused = on
        if isinstance(self.queue, Kept):
            self.queue.pause(on=on)
        if not on:
            self.pump()
