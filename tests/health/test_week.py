"""A listener's looks at two instances, each with a GPU, over days: they leave nothing behind.

What is simulated: time, which goes on 5 s at each look; the processes, supervisord, and what comes over a wire, which
would take a hundred times as long. What is real: all of ours behind that, which watch, senses, policy, ledger, alarms,
black box, porter, journal and the watch over the GPUs are. Each run of the tests looks for fourteen hours; a week is
``HEALTH_LOOKS=120960``, and takes some minutes.
"""

from __future__ import annotations

import json
import operator
import os
import sqlite3
import threading
import tracemalloc
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor import rpc
from comfy_supervisor.gpu import watch as gpu_watch
from comfy_supervisor.health import ledger, watch
from comfy_supervisor.health.policy.evidence import Life, Vitals, Word
from comfy_supervisor.health.senses import vitals
from comfy_supervisor.health.watch import Watch
from comfy_supervisor.health.watched import Watched
from comfy_supervisor.jobs import porter
from comfy_supervisor.launch import lastword
from tests.health.test_growth import MOST_BYTES, STEP, Clock, used
from tests.support import wait_until

LOOKS = int(os.environ.get("HEALTH_LOOKS") or 10_000)
"""At each instance."""
EVERY = 50
"""Looks between two jobs; each fourth ends with an error, and halfway between two the API fails for three looks."""
LIFE = 2_000
"""Looks until a life ends: not quite three hours."""
WARM = 2 * LIFE
"""Looks after which all is there that is to stay."""
TRACED = 1_000
"""The last looks, whose memory is traced."""
MOST_BLOCKS = 1_000
"""Of memory, of which a look that left a single one would leave 10,000, and in a week 230,000."""
MOST_TRACED = 96 * 1024
"""Bytes: what is exchanged for its like; 49 a look would be too much."""
HISTORY, HOURLY = 20, 16
"""Finished jobs that the journal remembers, and those that come before it forgets again, each hour."""
GRAPH = {"1": {"class_type": "KSampler", "inputs": {"seed": 1}}}
BOOT = vitals.boot_id()
NOWHERE = "unix:///nowhere"


class Answer:
    """What comes over the wire, as ``bounded.Answer`` gives it."""

    def __init__(self, content: object) -> None:
        """Make it the content's JSON."""
        self.status, self.location = 200, ""
        self._left = json.dumps(content).encode()

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        piece, self._left = self._left[:size], self._left[size:]
        return piece


class Patient:
    """One ComfyUI without a process, and what supervisord and the kernel say of it; one Client for all who ask."""

    def __init__(self, number: int) -> None:
        """Begin its first life."""
        self.number, self.uuid, self.url = number, f"GPU-{number}", NOWHERE
        self.lives, self.jobs = 0, 0
        self.fails = self.works = False
        self.cpu = 0.0
        self.reborn()

    def reborn(self) -> None:
        """Begin the next life."""
        self.lives += 1
        self.life = Life(BOOT, 2**22 + self.number * 100_000 + self.lives, float(self.lives), self.lives)

    @contextmanager
    def ask(self, path: str, _deadline: float, _body: object = None, *, once: bool = False) -> Iterator[Answer]:
        """Answer as ComfyUI does."""
        assert not once, "nothing is ever submitted again here"
        if self.fails:
            raise TimeoutError("timed out")
        yield Answer(self._said(path))

    def close(self) -> None:
        """Let go of nothing."""

    def _said(self, path: str) -> object:
        if path == "/prompt":
            return {"exec_info": {"queue_remaining": int(self.works)}}
        if path == "/queue":
            running = [[float(self.jobs), f"job-{self.jobs}", GRAPH, {}, ["1"]]]
            return {"queue_running": running if self.works else [], "queue_pending": []}
        if path == "/system_stats":
            return {"devices": [{"type": "cuda"}]}
        ended = self.jobs - self.works
        asked = path.removeprefix("/history/")
        wanted = asked if asked != path else f"job-{ended}"
        return {wanted: {"prompt": [float(ended), wanted, GRAPH], "outputs": {}, "status": _status(ended)}}

    def process(self, _program: str) -> rpc.Process:
        """Return what supervisord says of it."""
        return rpc.Process("comfyui", f"gpu{self.number}", "RUNNING", self.life.pid, 0, 0, 0, "", "", "")

    def look(self, _pid: int) -> vitals.Checkup:
        """Return what the kernel says of it."""
        self.cpu += 3.0 if self.works else 0.0
        status = Vitals("S", self.cpu, 0, 0, 2**30, listens=True)
        return vitals.Checkup(self.life, 60.0, False, status, frozenset({self.life.pid}))

    def gpu(self) -> dict[str, Any]:
        """Return what the GPU's watcher says of it."""
        busy = [[self.life.pid, 80 if self.works else 0]]
        row = {"index": self.number, "mig": "off", "uuid": self.uuid, "percent": busy[0][1], "busy": busy}
        return {**row, "processes": [[self.life.pid, 8000]], "here": True, "errors": {}}


def _status(job: int) -> dict[str, Any]:
    if job % 4:
        return {"status_str": "success", "completed": True, "messages": []}
    error = {"exception_message": "out of luck\n", "exception_type": "RuntimeError"}
    return {"status_str": "error", "completed": False, "messages": [["execution_error", error]]}


class Days:
    """A listener over two patients, hurried along."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Begin to watch."""
        self.clock, self.said = clock, deque[str](maxlen=20)
        self.gpus = gpu_watch.Watch()
        self.patients = [Patient(number) for number in range(2)]
        self.folders = [folder / f"gpu{number}" for number in range(2)]
        self.watches = [self._watch(*each) for each in zip(self.patients, self.folders, strict=True)]

    def _watch(self, patient: Patient, folder: Path) -> Watch:
        folder.mkdir(parents=True)
        name, state, log = folder.name, str(folder), folder.parent / f"{folder.name}.log"
        log.touch()
        watched = Watched(f"comfyui:{name}", name, "http://127.0.0.1:1", 1, state, state, str(log), patient.uuid)
        watched = replace(watched, history=HISTORY, incidents_keep=3)
        made = Watch(watched, rpc.Supervisor(NOWHERE), self.gpus, lambda *_: False, self.said.append)
        made._senses._supervisor = made._senses._body = patient  # type: ignore[assignment]
        made._senses.api._client = made._porter._comfy._client = patient  # type: ignore[assignment]
        return made

    def go_on(self, looks: int) -> None:
        """Live through so many looks at each."""
        for look in range(1, looks + 1):
            self.clock.now += STEP
            line = {"at": self.clock.now, "gpus": [each.gpu() for each in self.patients], "xids": []}
            assert self.gpus._hear(json.dumps(line).encode(), ())
            for patient, one in zip(self.patients, self.watches, strict=True):
                self._befall(patient, look)
                one._turn()
                _carry(one)
                assert not patient.fails or one.state.word is Word.SUSPECT, (one.state, self.said)

    def _befall(self, patient: Patient, look: int) -> None:
        """Have begin and end what does so at this look."""
        if look % EVERY == 0:
            patient.works, patient.jobs = True, patient.jobs + 1
        elif look % EVERY == 3:
            patient.works = False
        patient.fails = 0 <= look % EVERY - EVERY // 2 < 3
        if look % LIFE == LIFE // 2 + EVERY:
            patient.reborn()

    def trouble(self) -> list[str]:
        """Return what went wrong on our side."""
        return [text for text in self.said if "our own error" in text]


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Days:
    """A listener that has everything by now that it is ever to have."""
    clock = Clock()
    for module in (watch, gpu_watch, porter):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(porter, "goes_on", lambda _: True)
    for name in ("ending", "own_ending"):
        monkeypatch.setattr(lastword, name, lambda *_: "exited: terminated by SIGSEGV; not expected")
    monkeypatch.setattr(ledger, "MOST_BYTES", MOST_BYTES)
    days = Days(tmp_path / "state", clock)
    days.go_on(WARM)
    return days


def _carry(one: Watch) -> None:
    """Do what the porter's thread does in that time."""
    porter = one._porter
    while not porter._orders.empty():
        porter._guarded(porter._orders.get() or porter._turn)
    porter._guarded(porter._turn)


def settled() -> tuple[int, int, int]:
    """Return what is in use once no incident is being written down."""
    wait_until(lambda: not [each for each in threading.enumerate() if "blackbox" in each.name], 60)
    return used()


def finished(folder: Path) -> int:
    """Return how many finished jobs an instance's journal remembers."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as sql:
        return int(sql.execute("SELECT count(*) FROM jobs WHERE state IN ('done', 'failed')").fetchone()[0])


@pytest.mark.timeout(900)
def test_days_leave_nothing_behind(days: Days) -> None:
    before, *own = settled()
    days.go_on(LOOKS - WARM - TRACED)
    after, *left = settled()
    assert all(map(operator.le, left, own)), (left, own)  # a thread that wrote something down may have ended since
    assert after - before < MOST_BLOCKS
    tracemalloc.start()
    days.go_on(TRACED)
    settled()
    size, traces = tracemalloc.get_traced_memory()[0], tracemalloc.take_snapshot()
    tracemalloc.stop()
    assert size < MOST_TRACED, "\n".join(map(str, traces.statistics("lineno")[:10]))
    assert not days.trouble()
    for folder in days.folders:
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        assert sizes["decisions.jsonl"] <= MOST_BYTES, sizes
        assert sizes["decisions.jsonl.1"] <= MOST_BYTES, sizes
        assert 0 < finished(folder) <= HISTORY + HOURLY
