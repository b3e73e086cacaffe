"""ComfyUI's queue: in memory alone, as it is, and with our extension, the real journal and the real replay."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol
from unittest import mock

from comfy_supervisor.extension.comfy_supervisor_bridge import gate, store
from comfy_supervisor.jobs import porter, replay
from comfy_supervisor.jobs.job import Process
from tests.jobs.world import CONNECT, World

from .clockwork import Clockwork
from .load import Job

Ended = Callable[[Job, str], None]
"""Hears what became of a job."""
_WAITS = ("queued", "running")


class Queue(Protocol):
    """One instance's."""

    running: Job | None

    def __len__(self) -> int:
        """Return how many jobs it has."""

    def up(self) -> None:
        """A life begins to answer."""

    def down(self, text: str, cause: str = "") -> None:
        """A life ends, for a cause if it is our doing."""

    def accept(self, job: Job) -> None:
        """Take a job in."""

    def take(self) -> Job | None:
        """Begin the next job, if there is one that may."""

    def finish(self) -> str:
        """End the running job; return how."""

    def interrupt(self) -> None:
        """A user interrupts the running job."""

    def delete(self, *, every: bool) -> None:
        """A user deletes a waiting job, or all."""


class Memory:
    """A queue that ends with its process."""

    def __init__(self, ended: Ended) -> None:
        """Have nothing."""
        self._ended = ended
        self._waiting: deque[Job] = deque()
        self.running: Job | None = None
        self._interrupted = False

    def __len__(self) -> int:
        """Return how many jobs it has."""
        return len(self._waiting) + (self.running is not None)

    def up(self) -> None:
        """Begin with nothing."""

    def down(self, text: str, cause: str = "") -> None:  # noqa: ARG002  # as the protocol has it
        """Lose everything."""
        lost = [*([self.running] if self.running else []), *self._waiting]
        self._waiting.clear()
        self.running = None
        for job in lost:
            self._ended(job, "ended with ComfyUI" if job is lost[0] and job.fault and job.fault.times else "lost")

    def accept(self, job: Job) -> None:
        """Take a job in."""
        self._waiting.append(job)

    def take(self) -> Job | None:
        """Begin the next job."""
        if self.running or not self._waiting:
            return None
        self.running, self._interrupted = self._waiting.popleft(), False
        self.running.runs += 1
        return self.running

    def finish(self) -> str:
        """End the running job; one that kills does not end."""
        job = self.running
        assert job
        times = job.fault.times if job.fault else ""
        if times == "killer":
            return "died"
        self.running = None
        how = "deleted" if self._interrupted else {"failing": "failed", "poisoner": "poisoned"}.get(times, "done")
        self._ended(job, "failed by its GPU" if how == "poisoned" else how)
        return how

    def fail(self) -> None:
        """End the running job by a GPU that is of no use: a job that was honest is lost to its user."""
        job, self.running = self.running, None
        assert job
        self._ended(job, "lost")

    def interrupt(self) -> None:
        """A user interrupts the running job."""
        self._interrupted = self.running is not None

    def delete(self, *, every: bool) -> None:
        """A user deletes the last of the waiting jobs, or all."""
        while self._waiting:
            self._ended(self._waiting.pop(), "deleted")
            if not every:
                return


class Kept(World):
    """A queue with all that we do for it: hooks, journals, porter; what is promised of it is checked throughout."""

    history = 10**9

    def __init__(
        self, folder: Path, number: int, clockwork: Clockwork, ended: Ended, died: Callable[[str], None]
    ) -> None:
        """Keep what is needed; ``died`` hears of a death that is a job's doing."""
        super().__init__(folder)
        self._clockwork = clockwork
        self._hears, self._died = ended, died
        self._jobs: dict[str, Job] = {}
        self._executed = self._ending_it = False
        self.lives = self._first = 100_000 * number  # no two worlds' processes are the same
        self.unsettled = True
        """Whether the porter may have something to do."""

    @property
    def running(self) -> Job | None:
        """The running job."""
        return self._jobs[self.life.running[0][1]] if self.life and self.life.running else None

    def __len__(self) -> int:
        """Return how many jobs ComfyUI has."""
        return self.life.queue.get_tasks_remaining() if self.life else 0

    def up(self) -> None:
        """A life begins: another process's, or the same one's."""
        self.unsettled = True
        if self._executed and self.life:
            self._ending_it = True
            self.execute_anew()
            self._ending_it = False
        elif not self._has_begun:
            self.begin()
        else:
            self.start()
        self._executed = False

    def reexec(self) -> None:
        """ComfyUI executes itself; what it had goes when it is up again."""
        self._executed = True

    def down(self, text: str, cause: str = "") -> None:
        """A life ends."""
        self.unsettled, self._ending_it = True, True
        if cause:
            self.restart(cause)
        self.die(text or "terminated by SIGKILL")  # nobody can tell: with its supervisord, or the machine
        self._ending_it = self._executed = False

    def die(self, ending: str) -> None:
        """End a life; whoever asked for that knows it, others are told."""
        lives = self.life is not None
        super().die(ending)
        if lives and not self._ending_it:
            self._died(ending)

    def accept(self, job: Job) -> None:
        """Take a job in, through the hooks."""
        times = job.fault.times if job.fault else ""
        self.submit(times or "honest")
        job.prompt_id = f"{times or 'honest'}-{self.counter}"
        self._jobs[job.prompt_id] = job

    def take(self) -> Job | None:
        """Begin the next job, if the hooks let it."""
        if self.life is None or self.life.running or not self.life.queue.queue:
            return None
        self.work()
        job = self.running
        if job:
            job.runs += 1
        return job

    def finish(self) -> str:
        """End the running job, through the hooks."""
        job = self.running
        assert job
        self.work()
        if self.life is None:
            return "died"
        entry = self.life.queue.get_history(job.prompt_id).get(job.prompt_id)
        names = dict(entry["status"]["messages"]) if entry else {}
        if "execution_interrupted" in names:
            self.unsettled = True
            return "gave up"
        return "done" if not names else "poisoned" if self.life.gate.poisoned else "failed"

    def fail(self) -> None:
        """End the running job by a sticky CUDA error that is not its doing."""
        job = self.running
        assert job
        truth = self.truths[job.prompt_id]
        kind, truth.kind = truth.kind, "poisoner"
        self.work()
        truth.kind = kind

    def delete(self, *, every: bool = True, **_: object) -> None:  # type: ignore[override]
        """A user deletes the last of the waiting jobs, or all."""
        self.clear() if every else super().delete(lambda waiting: waiting[-1])

    def look_after(self) -> None:
        """The porter has its turn, where it may have something to do."""
        if not self.unsettled or self.life is None:
            return
        self.turn(0.0)
        self.unsettled = self.full or self.life is None or not self._is_settled()

    def _is_settled(self) -> bool:
        assert self.life
        here = {item[1] for items in self.life.queue.get_current_queue() for item in items}
        journal = self.life.journal
        waiting = {prompt_id for prompt_id, state, _ in self.rows() if state in _WAITS}
        return waiting <= here and bool(journal and journal.ok)

    @property
    def _has_begun(self) -> bool:
        return self.lives > self._first

    def listen(self) -> None:
        """Begin the listener's life anew."""
        if self._has_begun:
            super().listen()

    def turn(self, seconds: float = 3.0) -> None:
        """Have the porter look after the jobs, so much later."""
        self._clockwork.now += seconds
        self.clock.now = self._clockwork.now - seconds
        super().turn(seconds)

    def close(self) -> None:
        """Let everything take its course, undisturbed, and check what was promised."""
        self._ending_it = True
        if self._has_begun:
            self.settle_down()
            self.rest()

    def rest(self) -> None:
        """Nothing is left to be done: check what was promised, and forget it."""
        if not self.truths:
            return
        self.check()
        states = {prompt_id: state for prompt_id, state, _ in self.rows()}
        for prompt_id, truth in self.truths.items():
            job = self._jobs.pop(prompt_id)
            self._hears(job, _fate(truth.doubtful, truth.ended, states.get(prompt_id, "")))
        self.truths.clear()
        self.points.clear()
        self.said.clear()
        self.was_full = self.full
        self.porter._journal.prune(0)
        if self.life:
            self.life.queue.wipe_history()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is left to be done."""
        return not self.unsettled and len(self) == 0


def _fate(doubtful: bool, ended: bool, state: str) -> str:
    """Return what became of a job, by the journal, and by the truth where nothing was promised."""
    if state in ("done", "failed", "deleted", "quarantined"):
        return state
    return ("done" if ended else "lost: the disk was full") if doubtful else "lost"


@contextmanager
def in_memory() -> Iterator[Path]:
    """Give a folder in memory, where writing through costs least."""
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="year-", dir=shm if shm.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def one_clock(clockwork: Clockwork, worlds: dict[str, Kept]) -> Iterator[None]:
    """Have the porters and the hooks of all instances go by the simulated time, and know their processes."""
    clock = SimpleNamespace(monotonic=lambda: clockwork.now, time=lambda: clockwork.wall)

    def goes_on(process: Process) -> bool:
        return any(world.goes_on(process) for world in worlds.values())

    def connect(file: str, patience: float) -> object:
        world = worlds.get(str(Path(file).parent))
        return world.connect(file, patience) if world else CONNECT(file, patience)

    with ExitStack() as stack:
        for module in (porter, replay, gate):
            stack.enter_context(mock.patch.object(module, "time", clock))
        stack.enter_context(mock.patch.object(porter, "goes_on", goes_on))
        stack.enter_context(mock.patch.object(store, "connect", connect))
        yield
