"""A week of looks leaves nothing behind in the listener: no memory, no descriptor, no thread, and no ever longer file.

What is simulated: the clock, which goes on 5 s at each look, so that they follow each other as fast as they can; and
3,000 looks stand for the week's 120,960, with jobs, faults and deaths as close to each other as in a bad week. What is
real: watch, senses, policy, ledger and hand, supervisord, and the stand-in with its lives, jobs and faults. Each look
of a week is taken by test_week, which pretends these.
"""

from __future__ import annotations

import gc
import operator
import os
import shlex
import signal
import sys
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from comfy_supervisor.gpu.watch import Watch as GpuWatch
from comfy_supervisor.health import ledger, watch
from comfy_supervisor.health.policy.evidence import Word
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.health.watch import Watch
from comfy_supervisor.health.watched import Watched
from tests.comfyui_server import STANDIN_FOLDER, fail_job, sleep_job
from tests.supervisord import Supervisord
from tests.support import free_port, wait_until

STEP = 5.0
LIVES = 5
LIFE = 600
"""Looks in each life of the stand-in: nearly an hour, so that its deaths are no flapping."""
EVERY = 50
"""Looks between two jobs that end, each fourth with an error; halfway between them the API fails for three looks."""
MOST_BYTES = 32 * 1024
"""Of the decisions' file, so that it is put aside a few times."""
MOST_BLOCKS = 500
"""Of memory, of which a look that left a single one would leave 1,800."""
MOST_TRACED = 64 * 1024
"""Bytes: what is exchanged for its like in a life; 109 a look would be too much."""


class Clock:
    """A clock that stands still while nobody pushes it."""

    def __init__(self) -> None:
        """Begin now, since the process under watch has begun before."""
        self.now = time.monotonic()
        self._epoch = time.time() - self.now

    def monotonic(self) -> float:
        """Return the time, as the module of this name does."""
        return self.now

    def time(self) -> float:
        """Return the same moment in seconds since the epoch."""
        return self.now + self._epoch


class Week:
    """A listener's watch over one instance, hurried along."""

    def __init__(self, supervisord: Supervisord, folder: Path, clock: Clock) -> None:
        """Start the stand-in, and watch it."""
        self.port, self.clock, self.said = free_port(), clock, deque[str](maxlen=20)
        self.url = f"http://127.0.0.1:{self.port}"
        self.supervisord = supervisord
        self.state = folder / "state"
        command = [sys.executable, str(STANDIN_FOLDER / "main.py"), "--cpu", "--disable-auto-launch"]
        command += [f"--port={self.port}", f"--user-directory={folder}", f"--output-directory={folder}"]
        for name in ("state", "run"):
            (folder / name).mkdir()
        log = folder / "comfyui.log"
        supervisord.start(
            f"[program:comfyui]\ncommand={shlex.join(command)}\nstdout_logfile={log}\nredirect_stderr=true\n"
            "autorestart=true\nstartsecs=0\n"
        )
        names = (str(self.state), str(folder / "run"), str(log))
        watched = Watched("comfyui", "cpu", self.url, self.port, *names, rules=Rules(gpu_meant=False))
        self.watch = Watch(watched, supervisord.rpc, GpuWatch(), lambda *_: False, self.said.append)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/prompt", timeout=5).ok
        except requests.RequestException:
            return False

    def go_on(self, looks: int) -> None:
        """Live through so many looks, and end the stand-in's life after them."""
        for look in range(looks):
            self.clock.now += STEP
            if look % EVERY == 0:
                job = fail_job() if look % (4 * EVERY) == 0 else sleep_job(0)
                requests.post(f"{self.url}/prompt", json={"prompt": job}, timeout=30)
            if look % EVERY == EVERY // 2:
                self._order("http_500")
            self.watch._turn()
            if look % EVERY == EVERY // 2 + 3:
                assert self.watch.state.word is Word.SUSPECT, self.said
                self._order("recover")
        os.kill(self.supervisord.pid(), signal.SIGKILL)
        wait_until(lambda: self.supervisord.rpc.state() and self._answers())

    def _order(self, what: str) -> None:
        requests.post(f"{self.url}/standin", json={"do": what}, timeout=30)


@pytest.fixture
def week(supervisord: Supervisord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Week:
    """A watch that has lived through one life of its instance."""
    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    monkeypatch.setattr(ledger, "MOST_BYTES", MOST_BYTES)
    week = Week(supervisord, tmp_path, clock)
    week.go_on(LIFE)
    week.watch._turn()
    wait_until(lambda: list(tmp_path.glob("incidents/*/report.md")), what="its end is written down, by a thread")
    return week


@pytest.fixture
def traced() -> Iterator[Callable[[], None]]:
    """Have what is allocated from a call on traced, which makes a look take twice as long."""
    yield tracemalloc.start
    tracemalloc.stop()


def used() -> tuple[int, int, int]:
    """Return how many blocks of memory Python has in use, and how many descriptors and threads there are."""
    gc.collect()
    return sys.getallocatedblocks(), len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


@pytest.mark.timeout(300)
def test_a_week_leaves_nothing_behind(week: Week, traced: Callable[[], None]) -> None:
    before, *own = used()
    for _ in range(LIVES - 2):
        week.go_on(LIFE)
    after, *left = used()
    assert all(map(operator.le, left, own)), (left, own)  # a thread that wrote something down may have ended since
    assert after - before < MOST_BLOCKS
    traced()
    week.go_on(LIFE)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    assert size < MOST_TRACED, "\n".join(map(str, tracemalloc.take_snapshot().statistics("lineno")[:10]))
    files = {file.name: file.stat().st_size for file in week.state.iterdir()}
    assert files.keys() == {"status.json", "decisions.jsonl", "decisions.jsonl.1"}, week.said
    assert max(files.values()) <= MOST_BYTES, files
