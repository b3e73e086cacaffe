"""A toy world for jobs: the stand-in's queue with our extension's hooks, both real journals, the listener's porter, and
an operator with his commands.

All in one thread, and all of it can be killed at each fault point: before and after each transaction of either side,
before a request arrives, and before its answer does. The disk may be full for a while; what is done meanwhile is
promised nothing should ComfyUI die before it is written.
"""

from __future__ import annotations

import sqlite3
import time
from collections import UserList
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from comfy_supervisor.cli import dropping
from comfy_supervisor.cli.kept import Found
from comfy_supervisor.extension.comfy_supervisor_bridge import hooks, store
from comfy_supervisor.extension.comfy_supervisor_bridge import journal as extension_journal
from comfy_supervisor.extension.comfy_supervisor_bridge.gate import Gate
from comfy_supervisor.extension.comfy_supervisor_bridge.heartbeat import Heart
from comfy_supervisor.extension.comfy_supervisor_bridge.life import Life
from comfy_supervisor.extension.comfy_supervisor_bridge.progress import Progress
from comfy_supervisor.extension.comfy_supervisor_bridge.writer import Writer
from comfy_supervisor.jobs import comfy, fate, pause, replay
from comfy_supervisor.jobs import job as jobs
from comfy_supervisor.jobs.comfy import Ending, Queue, Reply, Taken
from comfy_supervisor.jobs.fate import Policy
from comfy_supervisor.jobs.job import Guilt, Process, State, token
from comfy_supervisor.jobs.journal import Journal, JournalError
from comfy_supervisor.jobs.porter import Porter, Sighting, Ward
from comfy_supervisor.standin.prompt_queue import Item, PromptQueue

VIEWS = ("extension", "outside", "left", "changing")
"""How jobs are known; ``left``: in each of its lives, ComfyUI's have a form that the extension does not know, so
that it leaves them to the listener; ``changing``: each life's otherwise, and a node puts odd ones among them."""
_CHANGING = ("extension", "left", "outside", "extension", "outside", "left")
"""How the jobs of one life after the other are known then: each change is among them."""
EXTENSION = (
    "accepted",
    "refused",
    "taken",
    "ended",
    "gave_up",
    "noted",
    "put_back",
    "removed",
    "asked",
    "settle",
    "open",
    "take_stock",
    "hand_over",
)
"""What the extension's journal does in a transaction."""
LISTENER = (
    *("newest_life", "begin_life", "blame", "ended", "unsettled", "settle", "take_back", "obedient", "merge", "accept"),
    *("version", "in_queue", "moved", "obeyed", "ask", "to_submit"),
    *("body", "submitting", "in_doubt", "unsubmitted", "found", "set_aside", "jobs", "job", "beginning"),
    *("tally", "reading", "retry", "drop", "prune"),
)
"""What the listener's does."""
SERVER = ("queue", "ended", "submit")
"""What the listener asks of ComfyUI."""
SIDES = {
    "extension": ("comfyui",),
    "listener": ("listener", "comfyui"),
    "server": ("listener", "comfyui", "network", "late"),
}
"""Whom a fault point may befall; ``network``: the answer is lost; ``late``: the request comes after its time-out."""
CONNECT = store.connect
STICKY = "CUDA error: an illegal memory access was encountered"
KILLS = "killer"
POISONS = "poisoner"
ODD = "odd"
"""How the ids of jobs begin that have a form of their own."""


class Killed(BaseException):
    """Somebody is no more; nothing of his may go on."""

    def __init__(self, side: str) -> None:
        self.side = side


class RefusedError(Exception):
    """Another extension will not have a job queued."""


@dataclass
class Bounds:
    """How often something has happened, as far as that can be told."""

    least: int = 0
    most: int = 0

    def add(self, *, certain: bool) -> None:
        self.least += certain
        self.most += 1


@dataclass
class Truth:
    """What really became of a job."""

    prompt_id: str
    kind: str
    born: int
    """In which life it was accepted."""
    place: int
    answered: bool = False
    kept: bool = False
    """Whether it is promised since then that it is not lost."""
    seen: bool = False
    """Whether it is written down from a look at the queue."""
    deleted: bool = False
    """Its user was told so, or had asked it to give up, and it is promised that this lasts."""
    maybe_deleted: bool = False
    """Its user has asked for that, with or without an answer."""
    runs: list[int] = field(default_factory=list)
    """In which lives it was begun."""
    deaths: int = 0
    """Of lives while it ran."""
    met: int = 0
    """The same, without those that an operator willed, and since one has forgiven them."""
    asked: list[int] = field(default_factory=list)
    """In which lives the listener asked it to give up."""
    suspicions: int = 0
    """How often at most it may be suspected."""
    maybe_forgiven: bool = False
    """Whether an operator was about to forgive it, and died."""
    dropped: bool = False
    """An operator was told so."""
    ended: bool = False
    unwritten: bool = False
    """Whether anything befell it that could not be written down (yet)."""
    in_memory: bool = False
    """Whether it was accepted so."""
    doubtful: bool = False
    """Whether ComfyUI has died before that was written: then nothing is promised."""
    suspected: Bounds = field(default_factory=Bounds)
    """Deaths that the journal is to suspect it of."""
    met_outside: Bounds = field(default_factory=Bounds)
    """Deaths from outside that it is to be charged with."""
    lost: int = 0
    """How often it was submitted again in vain."""
    vague: bool = False
    """Whether it can't be told what it is to be charged with."""


@dataclass
class Comfyui:
    """One life of it."""

    number: int
    process: Process
    queue: Any
    view: str
    """How its jobs are known."""
    journal: extension_journal.Journal | None
    gate: Gate
    nodes: Any
    running: tuple[Any, int] | None = None
    interrupted: str = ""
    asked: bool = False
    """Whether the listener asked the running job to give up."""
    under_way: int = 0
    """How often it has perhaps written down that it will, before ComfyUI has come to it, which can't tell who asks."""
    maybe_asked: bool = False
    """Whether it was about to do so in this life, or did."""
    blamed: list[Guilt] = field(default_factory=list)
    """What it said of the job that ran that the listener was about to end it, each time …"""
    blame_written: bool = False
    """… and whether that is written down."""
    late: list[Callable[[], object]] = field(default_factory=list)
    heart: Heart | None = None
    bridge: hooks.Hooks | None = None

    @property
    def keeps(self) -> bool:
        """Whether the extension writes its jobs down."""
        return self.bridge is not None and not self.bridge.left


class AtOnce(Writer):
    """No thread: who is killed has to be the one that asked."""

    def do(self, deed: Callable[[], None]) -> bool:
        deed()
        return True


class Clock:
    """The listener's."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = staticmethod(time.time)


class World:
    """All of it; each method is one thing that happens."""

    history = 1000
    """Finished jobs that the journal keeps, at most: more than there are, since each is checked in the end."""

    def __init__(self, folder: Path, view: str = "extension", plan: dict[int, str] | None = None) -> None:
        self.folder = folder
        self.view = view
        self.extended = view == "extension"
        self.plan = dict(plan or {})
        """By fault point's number: whom it befalls."""
        self.points: list[str] = []
        """The fault points that were passed."""
        self.clock = Clock()
        self.truths: dict[str, Truth] = {}
        self.lives = 0
        self.life: Comfyui | None = None
        self.endings: dict[int, str] = {}
        """How processes ended, by their pids, as supervisord has it."""
        self.ran: list[Truth] = []
        """The jobs that ran when the last life ended."""
        self.watched: Process | None = None
        """The process that the listener saw last."""
        self.said: list[str] = []
        self.counter = 0
        self.connections: list[sqlite3.Connection] = []
        self._reader: sqlite3.Connection | None = None
        self.full = False
        """Whether nothing can be written."""
        self.was_full = False
        self.refusals = 0
        """How many of the next submissions another extension refuses."""

    def begin(self) -> None:
        """Have all of it run for the first time."""
        self.start()
        self.porter = self._porter()

    # what may befall them

    def point(self, room: str, name: str) -> str:
        """Pass a fault point; return what befalls the request, if anything does."""
        self.points.append(f"{room}.{name}")
        side = self.plan.pop(len(self.points), "")
        if side not in SIDES[room]:
            return ""
        if side == "comfyui" and room != "extension":
            self.die("terminated by SIGKILL")
            return side
        if side in ("comfyui", "listener"):
            raise Killed(side)
        return side

    def faulty(self, room: str, thing: Any, names: tuple[str, ...]) -> None:
        """Put fault points around some of a thing's methods."""
        for name in names:
            setattr(thing, name, self._around(room, name, getattr(thing, name)))

    def _around(self, room: str, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            self.point(room, f"{name}, before")
            result = method(*arguments, **named)
            self.point(room, f"{name}, after")
            return result

        return called

    @contextmanager
    def mortal(self) -> Iterator[None]:
        """Whoever is killed in here is, and the world goes on."""
        try:
            yield
        except Killed as killed:
            if killed.side == "comfyui":
                self.die("terminated by SIGKILL")
            else:
                self.listen()

    def connect(self, file: str, patience: float) -> tuple[sqlite3.Connection, int]:
        """Do what ``store.connect`` does, on a disk that may be full."""
        connection, inode = CONNECT(file, patience)
        self.connections.append(connection)
        self._obstruct(connection)
        return connection, inode

    def close(self) -> None:
        """Close whatever those who were killed left open."""
        for connection in (*self.connections, *([self._reader] if self._reader else [])):
            connection.close()

    def fill(self, *, full: bool) -> None:
        """Have the disk be full, or no longer."""
        self.full = full
        self.was_full |= full
        for connection in self.connections:
            with suppress(sqlite3.ProgrammingError):  # it is closed
                self._obstruct(connection)

    def _obstruct(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA query_only = {'ON' if self.full else 'OFF'}")

    def touch(self, truth: Truth) -> None:
        """Note that something befalls a job, and whether that can be written."""
        life = self.life
        truth.unwritten |= self.full or bool(life and not self._writes(life))
        truth.vague |= truth.unwritten

    @staticmethod
    def _writes(life: Comfyui) -> bool:
        """Tell whether all that befalls its jobs is written down, if that is not left to the listener."""
        return life.journal is None or life.journal.ok or life.journal.handed_over

    # ComfyUI

    def start(self) -> None:
        """Begin a life, unless there is one."""
        if self.life is None:
            pid = self.lives + 1
            self._start(Process("boot", pid, float(pid), pid))

    def execute_anew(self) -> None:
        """ComfyUI-Manager restarts it in the same process."""
        if self.life:
            process = self.life.process
            self.life.blamed = []
            self.die("")
            ran = self.ran  # the next life may end here, too
            self._start(replace(process, image=process.image + 1000))
            if self.life is None or self.life.journal is None or not self.life.journal.ok:
                # as far as anybody knows, the process ended with the life before
                for truth in ran:
                    truth.suspected.add(certain=False)
                    truth.met_outside.add(certain=False)

    def _start(self, process: Process) -> None:
        self.lives += 1
        queue_type: Any = type("PromptQueue", (PromptQueue,), {"put": self._put})
        queue = queue_type(SimpleNamespace(queue_updated=lambda: None))
        nodes = SimpleNamespace(interrupt_processing=self._interrupt)
        view = _CHANGING[self.lives % len(_CHANGING)] if self.view == "changing" else self.view
        self.life = Comfyui(self.lives, process, queue, view, None, Gate(str(self.folder)), nodes)
        if view != "outside":
            with self.mortal():
                self._bridge(self.life, queue_type)

    def _bridge(self, life: Comfyui, queue_type: Any) -> None:
        me = Life(_token(life), "boot", life.process.pid, life.process.started, time.time())
        life.journal = extension_journal.Journal(
            str(self.folder / "journal.sqlite"), me, self.said.append, writer=AtOnce()
        )
        self.faulty("extension", life.journal, EXTENSION)
        life.bridge = bridge = hooks.Hooks(life.journal, Progress(), life.gate, life.queue)
        hooks._wrap(
            bridge, [*((queue_type, name) for name in hooks._QUEUE_HOOKS), (life.nodes, "interrupt_processing")]
        )
        bridge.take_stock()
        assert life.journal.ok or self.full, self.said
        life.heart = Heart(str(self.folder), me, bridge, None, "")

    @property
    def _put(self) -> Callable[[Any, Item], None]:
        """What our hook stands before: another extension's."""

        def put(queue: Any, item: Item) -> None:
            if self.refusals:
                self.refusals -= 1
                raise RefusedError
            PromptQueue.put(queue, item)

        return put

    def _interrupt(self, value: bool = True) -> None:
        assert self.life
        self.life.interrupted = self.life.running[0][1] if value and self.life.running else ""

    def miscarry(self, ending: str) -> None:
        """A process begins and ends that never gets as far as to have a life."""
        if self.life is None:
            self.lives += 1
            self.endings[self.lives] = ending

    def die(self, ending: str) -> None:
        """End ComfyUI's life; without an ending, its process goes on."""
        life, self.life = self.life, None
        if life is None:
            return
        if ending:
            self.endings[life.process.pid] = ending
        if life.journal is not None:
            life.journal._close()
        ran, begun = {item[1] for item in life.queue.currently_running.values()}, self._begun(life)
        self.ran = [self.truths[prompt_id] for prompt_id in ran | begun if not _is_odd(prompt_id)]
        for truth in self.ran:
            truth.deaths += 1
            truth.suspicions += bool(life.blamed) or "SIGKILL" not in ending
            self._charge(
                life,
                truth,
                ending,
                certain=truth.prompt_id in begun and (truth.prompt_id in ran or truth.kind == POISONS),
            )
        for truth in self.truths.values():
            truth.doubtful |= truth.unwritten

    def _charge(self, life: Comfyui, truth: Truth, ending: str, *, certain: bool) -> None:
        """Note what a job is to be charged with that ran at a life's end; an operator's stop is nothing to it."""
        guilts = set(life.blamed) if life.blame_written else {*life.blamed, fate.by_ending(ending or "stopped")}
        if life.maybe_asked:
            guilts.add(Guilt.SUSPECT)
        truth.met += guilts != {Guilt.INNOCENT}
        certain = certain and len(guilts) == 1
        if Guilt.SUSPECT in guilts:
            truth.suspected.add(certain=certain)
        if Guilt.VICTIM in guilts:
            truth.met_outside.add(certain=certain)

    def submit(self, kind: str = "honest") -> None:
        """A user submits a job."""
        if self.life is None:
            return
        self.counter += 1
        truth = Truth(f"{kind}-{self.counter}", kind, self.life.number, self.counter)
        self.truths[truth.prompt_id] = truth
        item = self._item(float(self.counter), truth.prompt_id, {"1": {}}, {"client_id": "me"}, ["1"], {})
        self.touch(truth)
        truth.in_memory = truth.unwritten
        with self.mortal():
            truth.maybe_deleted = bool(self.refusals)
            try:
                self.life.queue.put(item)
                truth.answered, truth.kept = True, self.life.keeps
            except RefusedError:
                truth.deleted = self.life.keeps

    def _item(self, *fields: Any) -> Any:
        """Return a job as this ComfyUI has it in its queue."""
        return UserList(fields) if self.life and self.life.view == "left" else fields

    def put_odd(self) -> None:
        """A node puts a job of its own form into the queue."""
        if self.life and self.life.view != "left":  # whose jobs can't be compared with it
            self.counter += 1
            with self.mortal(), suppress(RefusedError):
                self.life.queue.put((float(self.counter), f"{ODD}-{self.counter}", {}, {}))

    def delete(self, choose: Callable[[list[str]], str]) -> None:
        """A user deletes a waiting job."""
        if self.life and self._waiting(self.life):
            prompt_id = choose(sorted(self._waiting(self.life)))
            self.truths[prompt_id].maybe_deleted = True
            self.touch(self.truths[prompt_id])
            with self.mortal():
                self.life.queue.delete_queue_item(lambda item: item[1] == prompt_id)
                self.truths[prompt_id].deleted |= self.life.keeps

    @staticmethod
    def _waiting(life: Comfyui) -> list[str]:
        """Return the ids of the jobs that wait in ComfyUI's queue, without the odd ones."""
        return [item[1] for item in life.queue.queue if not _is_odd(item[1])]

    def clear(self) -> None:
        """A user deletes all waiting jobs."""
        if self.life:
            waiting = self._waiting(self.life)
            for prompt_id in waiting:
                self.truths[prompt_id].maybe_deleted = True
                self.touch(self.truths[prompt_id])
            with self.mortal():
                self.life.queue.wipe_queue()
                for prompt_id in waiting:
                    self.truths[prompt_id].deleted |= self.life.keeps

    def interrupt(self) -> None:
        """A user interrupts the running job."""
        if self.life and (truth := self._running(self.life)):
            truth.maybe_deleted = True
            self.touch(truth)
            with self.mortal():
                self.life.nodes.interrupt_processing()
                truth.deleted |= self.life.keeps and not self.life.under_way
                self.life.under_way = max(0, self.life.under_way - 1)

    def _running(self, life: Comfyui) -> Truth | None:
        """Return the job that runs; None: none does, or an odd one."""
        return self.truths.get(life.running[0][1]) if life.running else None

    def work(self) -> None:
        """The worker takes a job, or is done with the one it has."""
        if self.life:
            with self.mortal():
                self._take(self.life) if self.life.running is None else self._finish(self.life)

    def _take(self, life: Comfyui) -> None:
        taken = life.queue.get(timeout=0.0)
        if taken is None:
            return
        life.running, life.interrupted, life.asked, life.under_way = taken, "", False, 0
        if truth := self._running(life):
            self.touch(truth)
            self._check_start(life, truth)
            truth.runs.append(life.number)

    def _check_start(self, life: Comfyui, truth: Truth) -> None:
        holds = life.bridge is not None
        assert not (holds and pause.ordered(str(self.folder))), f"{truth.prompt_id} is begun in a pause"
        again = truth.runs.count(life.number)
        assert again <= truth.asked.count(life.number), f"{truth.prompt_id} runs twice in life {life.number}"
        # with "left", a life's first submission is not marked yet: what is dropped in that moment may be in the queue
        stays = (truth.dropped and self.view not in ("left", "changing")) or truth.deleted
        assert not (stays and truth.born < life.number) or truth.doubtful, f"{truth} was deleted"
        if self.extended and not (truth.runs or truth.deaths) and truth.born < life.number:
            before = [other for other in self.truths.values() if other.place < truth.place and self._waits(other)]
            assert not before, f"{truth.prompt_id} is begun before {[other.prompt_id for other in before]}"

    @staticmethod
    def _waits(truth: Truth) -> bool:
        """Tell whether a job is there that never had its turn."""
        had = truth.runs or truth.deaths or truth.maybe_deleted or truth.ended
        return truth.answered and not (had or truth.unwritten or truth.doubtful)

    def _finish(self, life: Comfyui) -> None:
        assert life.running
        _, token = life.running
        truth = self._running(life) or Truth("", ODD, life.number, 0)
        self.touch(truth)
        messages: list[Any] = []
        if life.interrupted == truth.prompt_id:
            messages = [("execution_interrupted", {})]
        elif truth.kind == KILLS:
            self.die("terminated by SIGSEGV")
            return
        elif truth.kind in ("failing", POISONS):
            message = STICKY if truth.kind == POISONS else "no"
            messages = [("execution_error", {"exception_message": message, "exception_type": "RuntimeError"})]
        status = PromptQueue.ExecutionStatus("error" if messages else "success", not messages, messages)
        life.queue.task_done(token, {}, status=status)
        life.running = None
        if truth.kind == POISONS and messages[0][0] == "execution_error" and life.bridge is None:
            life.gate.poison()  # which the log tells of
        truth.ended = not (messages and (truth.kind == POISONS or life.asked))

    # the listener

    def listen(self) -> None:
        """Begin the listener's life anew."""
        self.porter._journal.close()
        self.porter = self._porter()

    def _porter(self) -> Porter:
        ward = Ward(str(self.folder), "http://127.0.0.1:9", Policy(), self.history, self.view != "outside")
        porter = Porter(ward, self.said.append, ending=lambda pid: self.endings.get(pid, ""))
        accept = porter._journal.accept

        def accepted(item: Any, life: jobs.Life, state: State) -> None:
            accept(item, life, state)
            self.truths[item[1]].seen = True

        porter._journal.accept = accepted  # type: ignore[method-assign]
        self.faulty("listener", porter._journal, LISTENER)
        asked = {"queue": self._queue, "ended": self._ended, "submit": self._submitted_again, "close": lambda: None}
        porter._comfy = cast("comfy.Comfy", SimpleNamespace(**asked, unread="", strange=0, took=0.0))
        return porter

    def turn(self, seconds: float = 3.0) -> None:
        """The listener looks after the jobs."""
        self.clock.now += seconds
        self._arrive()
        self.beat()
        if self.life is None:
            return
        before, self.watched = self.watched, self.process()
        self.porter.see(Sighting(self.watched, answers=True, ready=True, work=str(self.clock.now)))
        with self.mortal():
            if before and before.pid != self.watched.pid:
                self.porter._guarded(partial(self.porter._note_end, before))
            self.porter._guarded(self.porter._turn)

    def beat(self) -> None:
        """ComfyUI's extension looks after its journal."""
        life = self.life
        if life is None or life.heart is None or life.journal is None:
            return
        with self.mortal():
            life.heart._tend()
        unwritten = [truth for truth in self.truths.values() if truth.unwritten]
        if unwritten and self.life is life and self._writes(life) and not self.full:
            here = {item[1] for items in life.queue.get_current_queue() for item in items}
            for truth in unwritten:
                truth.doubtful |= truth.in_memory and truth.prompt_id not in here  # it came and went unseen
                truth.unwritten = truth.in_memory = False

    def ask(self) -> None:
        """The listener asks the running job to give up."""
        if self.life and (truth := self._running(self.life)):
            truth.suspicions += 1
            truth.suspected.add(certain=False)
            self.life.maybe_asked = True
            self.life.under_way += 1
            self.touch(truth)
            truth.maybe_deleted |= truth.unwritten  # that it was not its user can't be written
            with self.mortal():
                if self.porter._ask(truth.prompt_id) and self.life:
                    self.life.asked = True
                    truth.asked.append(self.life.number)
                    self._asked("interrupt", partial(self._obey, truth.prompt_id), lost=False)

    def _obey(self, prompt_id: str) -> bool:
        """ComfyUI comes to the listener's request."""
        assert self.life
        if self.life.running and self.life.running[0][1] == prompt_id:
            self.life.under_way = max(0, self.life.under_way - 1)
        return self._interrupted(prompt_id)

    def restart(self, cause: str) -> None:
        """The listener ends ComfyUI's life, for that reason."""
        if self.life:
            life, guilt = self.life, fate.by_cause(cause)
            life.blamed.append(guilt)
            with self.mortal():
                with suppress(JournalError):
                    self.porter._journal.blame(self.process(), cause, guilt)
                    life.blame_written = True
                self.die("terminated by SIGTERM")

    def process(self) -> Process:
        assert self.life
        return self.life.process

    def goes_on(self, process: Process) -> bool:
        """Tell whether it is that process's life."""
        return self.life is not None and process == self.process()

    def is_process(self, life: jobs.Life) -> bool:
        """Tell whether a life's process goes on."""
        return self.life is not None and (life.pid, life.started) == (self.process().pid, self.process().started)

    # an operator

    def pause(self, *, on: bool) -> None:
        """Hold jobs back, or no longer."""
        pause.begin(str(self.folder), time.time()) if on else pause.end(str(self.folder))

    def retry(self, choose: Callable[[list[str]], str]) -> None:
        """Have a job tried again that was set aside."""
        aside = sorted(each for each, state, _ in self.rows() if state == "quarantined")
        if not aside:
            return
        truth = self.truths[choose(aside)]
        truth.maybe_forgiven, vague, truth.vague = True, truth.vague, True
        with self.mortal(), self._commands_journal() as journal, suppress(JournalError):
            job = journal.job(truth.prompt_id)
            if job and journal.retry(job):
                truth.suspicions = truth.met = 0
                truth.suspected, truth.met_outside = Bounds(), Bounds()
            truth.maybe_forgiven, truth.vague = False, vague

    def drop(self, choose: Callable[[list[str]], str]) -> None:
        """Have a job never run again."""
        unfinished = sorted(each for each, state, _ in self.rows() if state in ("queued", "running", "quarantined"))
        if not unfinished:
            return
        truth = self.truths[choose(unfinished)]
        truth.maybe_deleted = True
        self.touch(truth)
        with self.mortal(), self._commands_journal() as journal, suppress(JournalError):
            job = journal.job(truth.prompt_id)
            assert job
            done, what = dropping.drop(Found(cast("Any", SimpleNamespace(state=self.folder, url="")), job), set())
            truth.dropped |= done and "already" not in what

    @contextmanager
    def _commands_journal(self) -> Iterator[Journal]:
        with closing(self.commands_journal(str(self.folder))) as journal:
            yield journal

    def commands_journal(self, folder: str) -> Journal:
        """Return the journal as a command opens it."""
        journal = Journal(folder)
        self.faulty("listener", journal, LISTENER)
        return journal

    def commands_comfy(self, *_: object) -> Any:
        """Return ComfyUI as a command asks it."""

        def delete(prompt_id: str) -> bool:
            return bool(self._asked("delete", lambda: self._delete(prompt_id), lost=False))

        def interrupt(prompt_id: str) -> bool:
            return bool(self._asked("interrupt", lambda: self._interrupted(prompt_id), lost=False))

        asked = {"queue": self._queue, "delete": delete, "interrupt": interrupt, "close": lambda: None}
        return SimpleNamespace(**asked)

    def _delete(self, prompt_id: str) -> bool:
        assert self.life
        self.life.queue.delete_queue_item(lambda item: item[1] == prompt_id)
        return True

    def _interrupted(self, prompt_id: str) -> bool:
        assert self.life
        if self.life.running and self.life.running[0][1] == prompt_id:
            self.life.nodes.interrupt_processing()
        return True

    # what is asked of ComfyUI

    def _queue(self) -> Queue | None:
        """Answer as ``Comfy.queue`` does."""

        def answer() -> Queue:
            assert self.life
            running, waiting = self.life.queue.get_current_queue()
            items = {item[1]: list(item) for item in (*running, *waiting)}
            return Queue(items, frozenset(item[1] for item in running), sum(map(_is_odd, items)))

        found: Queue | None = self._asked("queue", answer, None)
        return found

    def _ended(self, prompt_id: str, number: float) -> Ending | None:
        """Answer as ``Comfy.ended`` does."""

        def answer() -> Ending:
            assert self.life
            entry = self.life.queue.get_history(prompt_id).get(prompt_id)
            return comfy._ending(entry, number) if entry else Ending(None)

        found: Ending | None = self._asked("ended", answer, None)
        return found

    def _submitted_again(self, prompt_id: str, number: float, body: dict[str, Any]) -> Reply:
        """Answer as ``Comfy.submit`` does."""
        suspect = next(suspect for each, _, suspect in self.rows() if each == prompt_id)

        def answer() -> Reply:
            assert self.life
            if suspect:
                assert not self.life.queue.get_tasks_remaining() or self.life.late, "a suspect is not alone"
            fields: Any = (float(number), prompt_id, body["prompt"], body["extra_data"], body["outputs"], {})
            self.life.queue.put(self._item(*fields))
            return Reply(Taken.YES, prompt_id=prompt_id)

        found: Reply = self._asked("submit", answer, Reply(Taken.UNKNOWN, "no answer"))
        self.truths[prompt_id].lost += found.taken is Taken.UNKNOWN
        return found

    def _asked(self, name: str, answer: Callable[[], Any], lost: Any) -> Any:
        fate_of_it = self.point("server", f"{name}, before")
        if self.life is None:
            return lost
        if fate_of_it == "late":
            self.life.late.append(answer)
        if fate_of_it:
            return lost
        try:
            found = answer()
        except RefusedError:
            found = lost
        except Killed as killed:
            if killed.side != "comfyui":
                raise
            self.die("terminated by SIGKILL")
            return lost
        return lost if self.point("server", f"{name}, after") else found

    def _arrive(self) -> None:
        """What was under way arrives."""
        while self.life and self.life.late:
            answer = self.life.late[0]
            with self.mortal(), suppress(RefusedError):
                answer()
            if self.life:
                self.life.late.pop(0)

    # in the end

    def rows(self) -> list[tuple[str, str, int]]:
        """Return each job's id, state, and deaths that it is suspected of, as the journal has it."""
        found = self._read("SELECT prompt_id, state, suspect FROM jobs")
        return [(str(each), str(state), int(suspect)) for each, state, suspect in found]

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what the journal has, by a connection that is kept: to open one takes longer than to ask it."""
        if self._reader is None:
            self._reader = sqlite3.connect(self.folder / "journal.sqlite")
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.OperationalError:  # there is none yet
            return []

    def _begun(self, life: Comfyui) -> set[str]:
        """Return what the journal says to be running in a life: a job that was poisoned is no longer in its queue."""
        of_life = "SELECT id FROM lives WHERE token IN (?, ?)"
        begun = f"SELECT prompt_id FROM jobs WHERE state = 'running' AND life IN ({of_life})"
        return {str(each) for (each,) in self._read(begun, _token(life), token(life.process))}

    def settle_down(self) -> None:
        """Let everything take its course, undisturbed, until all is quiet."""
        self.plan.clear()
        self.fill(full=False)
        self.pause(on=False)
        for _ in range(400):
            self.start()
            assert self.life
            if self.life.gate.held:
                self.restart("gpu_poisoned")
                continue
            self.turn(6.0)
            self.work()
            unfinished = any(state in ("queued", "running") for _, state, _ in self.rows())
            if not unfinished and self.life and not self.life.queue.get_tasks_remaining():
                return
        raise AssertionError(f"it does not come to rest: {self.rows()}")

    def check(self) -> None:
        """Check what was promised, once all is quiet."""
        troubles = ("own error",) if self.was_full else ("own error", "can't be written")
        wrong = [text for text in self.said if any(trouble in text for trouble in troubles)]
        assert not wrong, wrong
        states = {prompt_id: State(state) for prompt_id, state, _ in self.rows()}
        for truth in self.truths.values():
            if not truth.doubtful and (truth.kept or truth.seen):
                assert truth.prompt_id in states, f"{truth} is lost"
                self._check(truth, states[truth.prompt_id])

    def _check(self, truth: Truth, state: State) -> None:
        told = f"{truth} is {state.value}"
        if state is State.QUARANTINED:
            charged = truth.suspicions >= fate.SUSPECTED or truth.met >= fate.MET or truth.maybe_forgiven
            charged |= truth.lost >= replay.TRIES
            assert charged or not self.extended, told
        elif truth.kind in (KILLS, POISONS):
            assert (state, truth.maybe_deleted) == (State.DELETED, True), told
        elif state is State.DELETED:
            assert truth.maybe_deleted, told
        else:
            assert state is (State.FAILED if truth.kind == "failing" else State.DONE), told
            assert truth.runs, told
        if self.extended and state is not State.DELETED and not truth.vague:
            self._check_charges(truth)
        most = truth.deaths if self.extended else self.lives
        assert len(truth.runs) <= 1 + most + len(truth.asked), told
        assert truth.met <= fate.SUSPECTED + fate.MET or truth.maybe_forgiven or not self.extended, told

    def _check_charges(self, truth: Truth) -> None:
        """Check that a job is charged with what befell it, and with nothing else."""
        ((suspect, victim),) = self._read("SELECT suspect, victim FROM jobs WHERE prompt_id = ?", truth.prompt_id)
        told = f"{truth} is suspected of {suspect}, and was the victim of {victim}"
        assert truth.suspected.least <= suspect <= truth.suspected.most, told
        assert truth.met_outside.least <= victim <= truth.met_outside.most, told


def _token(life: Comfyui) -> str:
    """Return what the extension names a life by."""
    return f"life {life.number}/{life.process.image}"


def _is_odd(prompt_id: str) -> bool:
    return prompt_id.startswith(ODD)
