"""Carries an instance's jobs from one life of ComfyUI to the next: on a thread of its own, since that may take long."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from . import fate, snapshot, words
from .comfy import Comfy
from .fate import Policy
from .job import Guilt, Job, Life, Process, State, token
from .journal import DamagedError, Journal, JournalError
from .replay import Replay
from .running import goes_on

PATIENCE = 2.0
"""Seconds for which the watch waits until something is written down before it acts."""
_TURN = 1.0
"""Seconds between two turns."""
_LATE = 5.0
"""Seconds after a life's first answer, or in a new journal, from which the extension is taken not to be there."""
_SHARE = 0.05
"""Of ComfyUI's time, what looks at its queue from outside may take, while something moves there …"""
_UNCHANGED = 30.0
"""… and seconds between two of them while nothing does."""
_SETTLING = 10.0
"""Seconds after a life's first answer in which it should be told how those before it ended."""
_PRUNE = 3600.0
_CALM = 10.0
"""Seconds for which nothing is looked at while neither the instance nor the journal has changed."""

Told = Callable[[Life, list[tuple[Job, Job]]], None]
"""Hears what became of a life's jobs, each as it was and as it is now."""
Ending = Callable[[int], "str | None"]
"""Tells how a process ended, by its pid, as supervisord has it; empty: nobody can tell. None: not now."""


@dataclass(frozen=True)
class Sighting:
    """What the watch sees of an instance, as far as its jobs are concerned."""

    process: Process | None = None
    """What runs ComfyUI's code; None: nothing does."""
    answers: bool = False
    ready: bool = False
    """It works, too, and may be given jobs."""
    work: str = ""
    """What differs whenever its queue has moved, as far as is known."""


@dataclass(frozen=True)
class Ward:
    """The instance whose jobs are carried."""

    state: str
    """Its folder, with the journal."""
    url: str
    """The API's root."""
    policy: Policy
    history: int = 10000
    """How many finished jobs are remembered."""
    extension: bool = True
    """Whether ComfyUI is told to load ours."""
    seen_every: float = 5.0
    """Seconds between two sightings."""


class Porter:
    """One instance's; what it is told it does on its own thread, and nothing here raises."""

    def __init__(
        self,
        ward: Ward,
        say: Callable[[str], None],
        told: Told = lambda *_: None,
        ending: Ending = lambda _: "",
        alarm: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Keep what is needed.

        ``told`` hears what became of jobs, ``ending`` is asked how lives ended, ``alarm`` hears why jobs are not kept.
        """
        self._ward = ward
        self._journal = Journal(ward.state)
        self._comfy = Comfy(ward.url)
        self._policy = ward.policy
        self._say = say
        self._told = told
        self._ending = ending
        self._alarm = alarm
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._sighting = Sighting()
        self._answers_since: float | None = None
        self._unknown_since: float | None = None
        """When the life that runs was first not in the journal, be it that this was begun anew; None: it is there."""
        self._replay: Replay | None = None
        self._next_look = (float("-inf"), float("-inf"))
        """When the queue may be looked at from outside again: if it has moved, and if it hasn't."""
        self._work: str | None = None
        """How it was then; None: nobody knows."""
        self._pruned = float("-inf")
        self._calm: tuple[Sighting, int] | None = None
        """How all was when nothing was left to be done …"""
        self._calm_until = float("-inf")
        """… and when it is looked at again all the same."""
        self._trouble = ""
        self._is_outside = False
        """Whether jobs are known only from looks at the queue."""
        self._said: dict[str, str] = {}
        """By its text, of which life something was said last that is said once of each."""
        self._ended = False

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="porter", daemon=True).start()

    def end(self) -> None:
        """Do no more; what is being done is finished by the next one."""
        self._ended = True
        self._orders.put(None)

    def see(self, sighting: Sighting) -> None:
        """Take note of how the instance is."""
        changed = (self._sighting.process, self._sighting.ready) != (sighting.process, sighting.ready)
        self._sighting = sighting
        if changed:
            self._orders.put(None)

    def ended(self, process: Process) -> None:
        """Write down how a process ended, now that another runs: nobody may be able to tell later on."""
        self._orders.put(lambda: self._note_end(process))

    def _note_end(self, process: Process) -> None:
        if ending := self._ending(process.pid):
            self._journal.ended(process, fate.by_ending(ending))

    def blame(self, process: Process, cause: str) -> None:
        """Write down that a life is about to be ended, and why; waits for that, but not for long."""
        self._ordered(lambda: self._journal.blame(process, cause, fate.by_cause(cause)))

    def ask(self, prompt_id: str) -> bool:
        """Write down that the running job is about to be asked to give up; waits for that, but not for long.

        Returns whether it may be asked now: who gives up with nothing written would be taken for deleted by its user.
        """
        known: list[bool] = []
        late = threading.Event()
        self._ordered(lambda: None if late.is_set() else known.append(self._ask(prompt_id)))
        late.set()
        return known == [True]

    def _ask(self, prompt_id: str) -> bool:
        """Write it down; from outside, the job may not have been seen yet. Without a journal nothing is mistaken."""
        try:
            if self._journal.ask(prompt_id):
                return True
        except JournalError:
            return True
        life, process = self._journal.newest_life(), self._sighting.process
        if life is None or process is None or not life.is_run_by(process) or life.witness != "listener":
            return False
        seen = snapshot.follow(self._journal, self._comfy, life, partial(goes_on, process))
        return seen and self._journal.ask(prompt_id)

    def _ordered(self, deed: Callable[[], None]) -> None:
        done = threading.Event()

        def order() -> None:
            try:
                deed()
            finally:
                done.set()

        self._orders.put(order)
        done.wait(PATIENCE)

    def _run(self) -> None:
        while not self._ended:
            try:
                order = self._orders.get(timeout=_TURN)
            except queue.Empty:
                order = None
            self._guarded(order or self._turn)
        self._journal.close()

    def _guarded(self, deed: Callable[[], None]) -> None:
        """Do something; whatever goes wrong is said, once, and tried again at the next turn."""
        trouble, is_ours = "", False
        try:
            deed()
            unread = self._comfy.unread if self._is_outside else ""
            trouble = f"/queue {unread}: jobs are neither followed nor put back until that ends" if unread else ""
        except DamagedError as error:
            trouble = self._put_aside(error)
        except JournalError as error:
            trouble = f"{error}; jobs are not kept meanwhile"
        except Exception:  # noqa: BLE001  # a bug of ours must not end the thread
            trouble, is_ours = f"our own error: {traceback.format_exc()}", True
        if trouble and trouble != self._trouble:
            self._say(trouble)
            if not is_ours:
                self._alarm(trouble)
        self._trouble = trouble

    def _put_aside(self, error: DamagedError) -> str:
        try:
            aside = self._journal.put_aside()
        except JournalError as why:
            return f"{error}; it can't be set aside ({why}), and jobs are not kept meanwhile"
        return f"{error}; it is set aside{f' as {aside}' if aside else ''}, and a new one begun"

    def _turn(self) -> None:
        seen, now = self._sighting, time.monotonic()
        if not seen.answers:
            self._answers_since = None
        elif self._answers_since is None:
            self._answers_since = now
        if seen.process is None or self._answers_since is None:
            return
        state = (seen, self._journal.version())
        if state == self._calm and now < self._calm_until:
            return
        self._calm = None
        life = self._life(seen.process, self._answers_since, now)
        if life is None or not self._settled(life, seen, now - self._answers_since):
            return
        if self._carried(life, seen, now):
            self._calm, self._calm_until = state, now + _CALM
        self._prune(now)

    def _carried(self, life: Life, seen: Sighting, now: float) -> bool:
        """Follow what nobody within a life follows, and submit again what is to be; return whether all is done."""
        self._take_back(life)
        self._is_outside = life.witness == "listener"
        if self._is_outside:
            self._look(life, seen, now)
        looked = not self._is_outside or self._work == seen.work
        return seen.ready and self._replayed(life, now) and looked

    def _prune(self, now: float) -> None:
        if now - self._pruned >= _PRUNE:
            self._pruned = now
            self._journal.prune(self._ward.history)

    def _life(self, process: Process, answers_since: float, now: float) -> Life | None:
        """Return the life that runs; one that the extension does not speak of is noted after a while."""
        newest = self._journal.newest_life()
        if not goes_on(process):
            return None  # it was seen before: whose life that is, the next sighting tells
        if newest and newest.is_run_by(process):
            self._unknown_since = None
            if newest.is_handed_over:
                self._say_once(newest, self._outside("our extension does not know the form of this ComfyUI's jobs"))
            return newest
        if self._unknown_since is None:
            self._unknown_since = now
        if self._ward.extension and now - max(answers_since, self._unknown_since) < _LATE:
            return None
        life = self._journal.begin_life(process, time.time())
        if self._ward.extension:
            self._say_once(life, self._outside("ComfyUI runs without our extension"))
        return life

    def _outside(self, why: str) -> str:
        """Return what it means that a life's jobs are followed from outside, and why they are."""
        looks = f"{self._ward.seen_every + _TURN:g} s apart, or {1 / _SHARE:g} times as long as it takes to be read"
        known = f"its jobs are known only from looks at its queue, {looks}"
        return f"{why}: {known}: what has come since the last one dies with it"

    def _say_once(self, life: Life, text: str) -> None:
        """Say something of a life, once; figures that change make no other text of it."""
        about = text.lstrip("0123456789")
        if self._said.get(about) != life.token:
            self._said[about] = life.token
            self._say(text)

    def _settled(self, life: Life, seen: Sighting, answers_for: float) -> bool:
        """Decide on what dead lives have left behind; return False if it is not known yet how one ended."""
        for dead in self._journal.unsettled(life):
            if seen.process and dead.witness == "listener" and dead.token == token(seen.process):
                if not snapshot.join(self._journal, self._comfy, dead, life, partial(goes_on, seen.process)):
                    return False
                continue
            guilt = dead.guilt or self._guilt(dead, life)
            if guilt is None and answers_for < _SETTLING:
                return False
            guilt = guilt or Guilt.VICTIM
            before: dict[int, Job] = {}
            jobs = self._journal.settle(dead, guilt, partial(self._fate, guilt, before))
            for text in words.of_end(dead, guilt, jobs):
                self._say(text)
            self._told(dead, [(before[job.seq], job) for job in jobs])
        return True

    def _take_back(self, life: Life) -> None:
        """Decide on what stood still, and gave up when the listener asked it to."""
        if not self._journal.obedient():
            return
        decide = partial(fate.after_obeying, policy=self._policy, now=time.time())
        before = {job.seq: job for job in self._journal.in_queue(life)}
        for job in self._journal.take_back(decide):
            self._say(f"job {job.prompt_id} gave up when asked; {words.of_job(job)}")
            self._told(life, [(before.get(job.seq, job), job)])

    def _guilt(self, dead: Life, current: Life) -> Guilt | None:
        """Return what the end of a life says of its job, where the listener did not end it; None: not known yet."""
        if dead.boot != current.boot:
            return Guilt.VICTIM
        ending = self._ending(dead.pid)
        return None if ending is None else fate.by_ending(ending)

    def _fate(self, guilt: Guilt, before: dict[int, Job], job: Job) -> Job:
        """Return what becomes of a job, and keep what it was before."""
        before[job.seq] = job
        return fate.after_death(job, guilt, self._policy, time.time())

    def _look(self, life: Life, seen: Sighting, now: float) -> None:
        """Look at the queue from outside, soon after it has moved, and rarely otherwise: the answer may be long."""
        moved, unmoved = self._next_look
        if seen.process and now >= (moved if seen.work != self._work else unmoved):
            followed = snapshot.follow(self._journal, self._comfy, life, partial(goes_on, seen.process))
            self._work = seen.work if followed else None
            if strange := self._comfy.strange:
                form = "a form that is not known here, and die with ComfyUI"
                self._say_once(life, f"{strange} of the jobs in /queue have {form}")
            over, spared = time.monotonic(), self._comfy.took / _SHARE
            self._next_look = (over + spared, over + max(_UNCHANGED, spared))

    def _replayed(self, life: Life, now: float) -> bool:
        """Submit again what is to be; return whether that was all of it."""
        if self._replay is None or (self._replay.life.id, self._replay.life.token) != (life.id, life.token):
            process = self._sighting.process

            def is_ready() -> bool:
                same = process is not None and self._sighting.process == process and goes_on(process)
                return same and self._sighting.ready and not self._ended

            self._replay = Replay(self._journal, self._comfy, life, partial(self._aside, life), self._say, is_ready)
        self._replay.life = life  # which the extension may have left to us since
        return self._replay.turn(now)

    def _aside(self, life: Life, job: Job, why: str) -> None:
        """Tell of a job that could not be submitted again."""
        self._say(f"job {job.prompt_id} is set aside: {why}")
        self._told(life, [(job, replace(job, state=State.QUARANTINED, note=why))])
