"""A journal with lives and jobs, and a ComfyUI that answers as it is told."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import life as bridge_life
from comfy_supervisor.jobs import fate
from comfy_supervisor.jobs.comfy import Comfy, Ending, Queue, Reply, Taken
from comfy_supervisor.jobs.fate import Policy
from comfy_supervisor.jobs.job import Guilt, Job, Life, Process, State
from comfy_supervisor.jobs.journal import Journal
from comfy_supervisor.jobs.porter import Porter, Sighting, Ward


@dataclass
class Server:
    """ComfyUI, as the listener asks it."""

    items: dict[str, list[Any]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    history: dict[str, Ending] = field(default_factory=dict)
    unread: str = ""
    strange: int = 0
    took: float = 0.0
    told: bool = True
    """Whether it answers what it is asked."""
    replies: list[Reply] = field(default_factory=list)
    """The next answers to a submission; after these, each is taken."""
    refuses: dict[str, str] = field(default_factory=dict)
    """By id, why a job is."""
    asked: list[str] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)
    at_asked: Callable[[], None] = lambda: None
    at_submitted: Callable[[str], None] = lambda _: None

    def queue(self) -> Queue | None:
        self.asked.append("queue")
        known = Queue(dict(self.items), frozenset(self.running), self.strange)
        return known if self.told and not self.unread else None

    def ended(self, prompt_id: str, number: float) -> Ending | None:  # noqa: ARG002
        self.asked.append(f"ended {prompt_id}")
        self.at_asked()
        return self.history.get(prompt_id, Ending(None)) if self.told else None

    def submit(self, prompt_id: str, number: float, body: dict[str, Any]) -> Reply:  # noqa: ARG002
        self.asked.append(f"submit {prompt_id}")
        self.submitted.append(prompt_id)
        self.at_submitted(prompt_id)
        refusal = Reply(Taken.NO, self.refuses[prompt_id]) if prompt_id in self.refuses else None
        reply = refusal or (self.replies.pop(0) if self.replies else Reply(Taken.YES, prompt_id=prompt_id))
        if reply.taken is Taken.YES:
            self.items[reply.prompt_id] = [number, reply.prompt_id, {}, {}, []]
        return reply

    def close(self) -> None: ...


@dataclass
class Kept:
    """A journal, with what tests need of it."""

    journal: Journal

    def life(self, pid: int) -> Life:
        """Begin a life that speaks for itself."""
        life = self.journal.begin_life(Process("boot", pid, float(pid)), time.time())
        with closing(sqlite3.connect(self.journal.file)) as connection, connection:
            connection.execute("UPDATE lives SET witness = 'extension' WHERE id = ?", (life.id,))
        return replace(life, witness="extension")

    def accept(self, life: Life, *prompt_ids: str, state: State = State.QUEUED, first: float = 0.0) -> None:
        for number, prompt_id in enumerate(prompt_ids):
            self.journal.accept((first + number, prompt_id, {"1": {}}, {"client_id": "me"}, ["1"]), life, state)

    def job(self, prompt_id: str) -> Job:
        found = self.journal.job(prompt_id)
        assert found
        return found

    def settle(self, life: Life, guilt: Guilt = Guilt.VICTIM, **policy: Any) -> list[Job]:
        decide = fate.Policy(**policy)
        return self.journal.settle(life, guilt, lambda job: fate.after_death(job, guilt, decide, time.time()))

    def waiting(self) -> list[str]:
        return [job.prompt_id for job in self.journal.to_submit()]


ME = bridge_life.this_one()
"""This test's process stands for ComfyUI's."""
PROCESS = Process(ME.boot, ME.pid, ME.started)
NUMBERS = itertools.count(1000)
SEEN = Sighting(PROCESS, answers=True, ready=True)
CRASHED = "exited: terminated by SIGSEGV; not expected"


class Carried:
    """A porter, and what it says."""

    def __init__(self, folder: Path, server: Server, *, extension: bool = True, history: int = 100) -> None:
        self.said: list[str] = []
        self.told: list[tuple[Job, Job]] = []
        self.alarms: list[str] = []
        self.endings: dict[int, str | None] = {}
        """By pid; a crash where nothing else is said."""
        ward = Ward(str(folder), "http://127.0.0.1:9", Policy(), history, extension)
        told = self.told.extend
        self.porter = Porter(
            ward,
            self.said.append,
            lambda _, pairs: told(pairs),
            lambda pid: self.endings.get(pid, CRASHED),
            self.alarms.append,
        )
        self.porter._comfy = cast("Comfy", server)


def speaks(kept: Kept) -> Life:
    """Have the extension enter its life; return that."""
    number = next(NUMBERS)
    life = kept.journal.begin_life(replace(PROCESS, image=number), time.time())
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE lives SET witness = 'extension', token = ? WHERE id = ?", (f"random {number}", life.id))
    return replace(life, witness="extension", token=f"random {number}")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    one = Kept(Journal(tmp_path))
    yield one
    one.journal.close()


@pytest.fixture
def server() -> Server:
    return Server()
