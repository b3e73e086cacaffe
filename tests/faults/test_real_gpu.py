"""What only a real GPU does, with a real ComfyUI on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from comfy_supervisor.gpu import detect, use
from tests.cli.service import DEADLINE
from tests.faults.conftest import discharged
from tests.faults.keeper import Keeper
from tests.faults.patient import Patient, fault
from tests.support import needs_comfyui, wait_until

pytestmark = needs_comfyui

NEIGHBOUR = """
import torch
while True:
    torch.cuda._sleep(250_000_000)
    torch.cuda.synchronize()
"""
HARD_LIMIT = 40.0
STALL = 8.0
"""Seconds."""


@pytest.fixture(scope="module")
def uuid() -> str:
    """Give the first GPU's UUID."""
    usable = detect().usable
    if not usable:
        pytest.skip(f"needs a GPU that works: {detect().text}")
    return usable[0].uuid


@pytest.fixture(scope="module")
def one(uuid: str) -> Iterator[Patient]:
    """Give a real ComfyUI on that GPU that is well, with nodes of ours."""
    with discharged(Patient()) as patient:
        patient.instance = f"gpu{detect().usable[0].index}"
        patient.settings(
            comfyui=patient.real_comfyui(),
            gpu={"devices": [uuid]},
            health={"start_grace": 300.0},
            stall={"after": STALL, "hard_limit": HARD_LIMIT},
        )
        patient.up()
        yield patient


@pytest.fixture
def real(one: Patient) -> Patient:
    """Give it as good as new."""
    one.renew()
    return one


@contextmanager
def neighbour(uuid: str) -> Iterator[None]:
    """Have another process keep the GPU busy."""
    python = os.environ.get("COMFYUI_PYTHON") or sys.executable
    with subprocess.Popen([python, "-c", NEIGHBOUR]) as process:
        try:
            wait_until(lambda: use()[uuid].utilization_percent, DEADLINE, "the neighbour computes")
            yield
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("node", "words"), [("FaultCudaAssert", "device-side assert"), ("FaultCudaAccess", "illegal memory access")]
)
def test_a_gpu_that_a_job_has_poisoned_is_found_out(real: Patient, node: str, words: str) -> None:
    """R within 10 s, and none other for the same error's Xids."""
    pid = real.pid()
    assert real.finished(real.submit(fault(node)))["status"]["status_str"] == "error"
    assert words in real.wait_for_restart(pid, "cuda_poisoned", 10)["reason"]
    real.stays(2.0)


def test_memory_that_a_gpu_does_not_have_is_its_users_affair(real: Patient) -> None:
    """N."""
    entry = real.finished(real.submit(fault("FaultCudaMemory")))
    assert "memory" in json.dumps(entry).lower()
    real.stays(2.0)
    assert not real.deeds("restart", "kill", "interrupt")


def test_a_job_that_only_the_gpu_works_for_is_not_stalled(real: Patient) -> None:
    """Fault 6: N, for three times as long as a stall takes."""
    real.finished(real.submit(fault("FaultCudaBusy", 3 * STALL)))
    real.wait_for_word("IDLE", deadline=DEADLINE)
    assert not real.deeds("restart", "kill", "interrupt")


def test_a_gpu_that_never_ends_a_job_is_ended_at_the_hard_limit(real: Patient) -> None:
    """Fault 6: A, then R."""
    pid = real.pid()
    real.submit(fault("FaultCudaBusy", 1e6))
    verdict = real.wait_for_restart(pid, "stalled", HARD_LIMIT + 30)
    assert "of its GPU" in verdict["reason"]


def test_a_neighbours_work_on_the_gpu_keeps_no_dead_job_alive(real: Patient, uuid: str) -> None:
    """Fault 5: R; and what the dead process held of the GPU's memory is free when the next one starts."""
    before = use()[uuid].memory_used_mib
    with neighbour(uuid):
        pid = real.pid()
        real.submit(fault("FaultCudaHold", 20.0))
        real.wait_for_restart(pid, "stalled", 60)
    assert len(real.deeds("interrupt")) == 1
    wait_until(lambda: use()[uuid].memory_used_mib < before + 10 * 1024, what="the memory is free")


def test_a_stopped_process_on_a_gpu_is_killed(real: Patient) -> None:
    """Fault 1: R by SIGKILL."""
    pid = real.pid()
    os.kill(pid, signal.SIGSTOP)
    real.wait_for_restart(pid, "process_stopped", 20)


def test_the_jobs_behind_one_that_poisons_the_gpu_are_done(uuid: str) -> None:
    """Faults 41 and 42: R, none of them charged; the one that did it is set aside at its second time."""
    with discharged(Keeper()) as keeper:
        assert isinstance(keeper, Keeper)
        keeper.instance = f"gpu{detect().usable[0].index}"
        keeper.keep(True, comfyui=keeper.real_comfyui(), gpu={"devices": [uuid]}, health={"start_grace": 300.0})
        graphs = [fault("FaultCudaBusy", 1.0), fault("FaultCudaAccess"), *[fault("FaultCudaBusy", 0.1)] * 3]
        first, killer, *others = keeper.submitted(*graphs)
        keeper.wait_for_states([first, *others], "done", deadline=90)
        keeper.wait_for_states([killer], "quarantined", deadline=90)
        assert [keeper.job(each).suspect for each in (first, killer, *others)] == [0, 2, 0, 0, 0]
