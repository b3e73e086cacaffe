"""Two hundred jobs, and all that can befall those who work on them: none is lost, and none is done for nothing."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from comfy_supervisor.jobs.job import Job, State
from tests.faults.conftest import discharged
from tests.faults.keeper import Keeper
from tests.support import needs_comfyui, seed, wait_until

HONEST = 200
KILLS = 20
WORKER_DEATHS = (0, 2, 4)
"""Kills before which the worker dies as well …"""
MANY = HONEST // 4
"""… while so many jobs are left: of the last ones, one may be a suspect, and be set aside at that."""
SEED = seed("ORDEAL_SEED")
"""Repeats an ordeal, as far as the machine's own chances allow."""
NODES = {
    "stand-in": {"sleep": "StandinSleep", "crash": "StandinCrash", "deadlock": "StandinSleep"},
    "real": {
        "sleep": "FaultDeadlock",
        "crash": "FaultCrash",
        "deadlock": "FaultDeadlock",
        "end_thread": "FaultEndThread",
    },
}
"""Those that wait, and those that ComfyUI dies of."""
FOR_EVER = 1e6
QUICKLY = {"budget": 1000, "longest_delay": 1}


class Ordeal(Keeper):
    """A service through which two hundred jobs go."""

    kind = "stand-in"

    def graph(self, fault: str, value: float, number: int) -> dict[str, Any]:
        """Return a job that takes a while, and leaves a file of its own behind each time that it is done."""
        inputs: dict[str, Any] = {"how": "segfault"} if fault == "crash" else {"seconds": value}
        wait = {"class_type": NODES[self.kind][fault], "inputs": {"value": value} if self.kind == "real" else inputs}
        image = {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": number}}
        save = {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": f"job-{number:03d}"}}
        return {"1": wait, "2": image, "3": save}

    def unfinished(self) -> list[Job]:
        """Return the jobs that are neither done nor set aside."""
        return self.journal.jobs(State.QUEUED, State.RUNNING)

    def outputs(self, number: int) -> int:
        """Return how often a job has left its file."""
        return len(list(self.output.glob(f"job-{number:03d}_*.png")))

    @property
    def output(self) -> Path:
        """Where ComfyUI puts its files."""
        return self.folder / "output"

    def wait_for_work(self, more: int) -> None:
        """Wait until so many more jobs are done, or all are over."""
        done = len(self.journal.jobs(State.DONE)) + more
        self.wait_for(lambda: len(self.journal.jobs(State.DONE)) >= done or not self.unfinished(), 300, "jobs are done")

    def lose_worker(self) -> None:
        """Have the stand-in's worker die in the running job, or the next."""
        pid = self.pid()
        with suppress(requests.RequestException):  # who is just being started has been spared
            self.order("worker_dies")
            self.wait_for_next_life(pid, deadline=60)

    def strike(self, chance: random.Random, *, everybody: bool) -> str:
        """Kill somebody: mostly ComfyUI, now and then its listener as well."""
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            os.kill(self.pid(), signal.SIGKILL)
            if everybody and chance.random() < 0.5:
                self.listener().kill()
                return "both"
        return "comfyui"


def undergo(ordeal: Ordeal, *, everybody: bool) -> None:
    """Have all jobs done while ComfyUI is killed again and again, and its keepers as well; then count."""
    chance = random.Random(SEED)
    print(f"ORDEAL_SEED={SEED}")  # noqa: T201  # for whoever wants to repeat it
    numbers = list(range(HONEST))
    killers = {60: "crash", 120: "deadlock", **({160: "end_thread"} if ordeal.kind == "real" else {})}
    ids = {n: ordeal.submit(ordeal.graph(killers.get(n, "sleep"), _length(chance, killers.get(n)), n)) for n in numbers}
    for kill in range(KILLS):
        ordeal.wait_for_work(chance.randint(1, 2 * HONEST // KILLS - 1))
        wait_until(lambda: chance.random() < 0.2, 60)
        if ordeal.kind == "stand-in" and kill in WORKER_DEATHS and len(ordeal.unfinished()) > MANY:
            ordeal.lose_worker()  # a real one has a node for it
        ordeal.strike(chance, everybody=everybody)
        if everybody and kill == KILLS // 2:
            os.kill(ordeal.supervisord_pid(), signal.SIGKILL)
            done = ordeal.run("up", "-d")
            assert done.returncode in (0, 1), done  # 1: it is held, as after so many deaths it ought to be
    ordeal.wait_for(lambda: not ordeal.unfinished(), 500, "all is over")
    jobs = {number: ordeal.job(ids[number]) for number in numbers}
    assert {n: jobs[n].state.value for n in killers} == dict.fromkeys(killers, "quarantined")
    honest = [number for number in numbers if number not in killers]
    assert {n: jobs[n].state.value for n in honest if jobs[n].state is not State.DONE} == {}
    for number in honest:
        assert 1 <= ordeal.outputs(number) <= 1 + jobs[number].suspect + jobs[number].victim, jobs[number]
    unsuspected = [number for number in honest if not jobs[number].suspect]
    assert sorted(unsuspected, key=lambda number: jobs[number].changed) == unsuspected


def _length(chance: random.Random, fault: str | None) -> float:
    return FOR_EVER if fault == "deadlock" else chance.uniform(0.02, 0.2)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("everybody", [False, True], ids=["comfyui", "everybody"])
def test_two_hundred_jobs_outlive_twenty_kills(everybody: bool) -> None:
    """Of ComfyUI alone; of the listener, too, and once of supervisord."""
    with discharged(Ordeal()) as ordeal:
        assert isinstance(ordeal, Ordeal)
        ordeal.output.mkdir()
        ordeal.keep(True, restart=QUICKLY, comfyui={"extra_args": ["--output-directory", str(ordeal.output)]})
        undergo(ordeal, everybody=everybody)


@needs_comfyui
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("everybody", [False, True], ids=["comfyui", "everybody"])
def test_two_hundred_jobs_outlive_twenty_kills_of_a_real_comfyui(everybody: bool) -> None:
    with discharged(Ordeal()) as ordeal:
        assert isinstance(ordeal, Ordeal)
        ordeal.kind = "real"
        ordeal.keep(True, comfyui=ordeal.real_comfyui(), health={"start_grace": 300.0}, restart=QUICKLY)
        undergo(ordeal, everybody=everybody)
