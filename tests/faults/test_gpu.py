"""Faults of the GPU and its driver, on a machine that is pretended: a compiled stand-in for NVIDIA's library."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.faults.patient import Patient
from tests.faults.test_incidents import incidents
from tests.nvml import Card, Nvml
from tests.support import is_running, wait_until

CARD = "NVIDIA GeForce RTX 4090"
QUICKLY = """
    from comfy_supervisor.gpu import watch
    from comfy_supervisor.health import listener
    listener.GpuWatch = lambda: watch.Watch(watch.Pace(period=1.0, fresh=3.0, first_delay=2.0))
"""
"""NVML is looked at every second, not every five."""
SOON = 20.0
"""Seconds for each thing that is to happen, as everything is scaled down here."""


@pytest.fixture
def one(fleet: Patient, nvml: Nvml) -> Patient:
    """Give an instance on the only GPU, well."""
    nvml.cards([CARD])
    fleet.inject(QUICKLY)
    fleet.up("gpu0")
    return fleet


def helper(patient: Patient) -> psutil.Process:
    """Return the process that watches the GPUs."""
    found: list[psutil.Process] = []

    def look() -> bool:
        children = patient.listener().children()
        found[:] = [each for each in children if any("nvml_watch" in word for word in each.cmdline())]
        return bool(found)

    wait_until(look, 30, "no process that watches the GPUs")
    return found[0]


def is_killed_when_stopped(patient: Patient) -> int:
    """Stop ComfyUI by a signal, and return the process that runs in its place then."""
    pid = patient.pid()
    os.kill(pid, signal.SIGSTOP)
    return patient.wait_for_next_life(pid, deadline=SOON)


def test_lost_while_it_runs(one: Patient, nvml: Nvml) -> None:
    """Fault 35: GPU_FAULT and held, no loop; an operator who has mended it starts it in any way, and it stays."""
    is_lost_and_held(one, nvml, times=1)
    one.ok("start")
    one.wait_for_word("IDLE", instance="gpu0", deadline=SOON)
    one.stays(3.0)  # longer than it takes to look at the GPU once more
    is_lost_and_held(one, nvml, times=2)
    assert one.supervisorctl("restart", "comfyui").returncode == 0
    one.wait_for_word("IDLE", instance="gpu0", deadline=SOON)
    one.stays(3.0)
    assert len(one.restarts("gpu0")) == 2


def is_lost_and_held(one: Patient, nvml: Nvml, times: int) -> None:
    """Lose the GPU, see the instance held, and mend the GPU."""
    pid, holds = one.info().pid, one.log().count("waiting (gpu_fault)")
    helper(one)
    for function in ("nvmlDeviceGetUUID", "nvmlDeviceGetHandleByIndex_v2"):
        nvml.fail("GPU_IS_LOST", function, card=0)
    one.wait_for_word("GPU_FAULT", instance="gpu0", deadline=SOON)
    held = one.wait_for_next_life(pid, deadline=SOON)
    one.wait_for(lambda: one.log().count("waiting (gpu_fault)") > holds, SOON, "held")
    one.stays(3.0)
    assert one.info().pid == held
    assert len(one.restarts("gpu0")) == times
    assert "GPU 0" in one.status()[0]["text"]
    pages = wait_until(lambda: [each for each in incidents(one) if each["kind"] == "gpu_fault"][times - 1 :], SOON)
    assert pages[0]["cause"] == "gpu_lost"
    assert "gpu.json" in pages[0]["files"]
    nvml.mend()


def test_an_error_that_often_is_the_programs_own(one: Patient, nvml: Nvml) -> None:
    """Fault 36: N for Xid 31 alone; one R where ComfyUI is ill as well, and none after it."""
    helper(one)
    nvml.xid(31)
    one.stays(4.0)
    assert one.restarts("gpu0") == []
    pid = one.pid()
    one.order("hold_answers")
    after = one.wait_for_next_life(pid, deadline=SOON)
    one.wait_for_word("IDLE", instance="gpu0", deadline=SOON)
    one.stays(3.0)
    assert one.info().pid == after
    assert len(one.restarts("gpu0")) == 1


def test_a_call_that_hangs(one: Patient, nvml: Nvml) -> None:
    """Fault 37: the process that made it is given up, and ComfyUI is watched all the while."""
    stuck = helper(one).pid
    nvml.hang("nvmlDeviceGetUUID", card=0)
    is_killed_when_stopped(one)
    one.wait_for_word("IDLE", instance="gpu0", deadline=SOON)
    wait_until(lambda: not is_running(stuck), SOON, "it is still there")
    is_killed_when_stopped(one)
    one.wait_for_word("IDLE", instance="gpu0", deadline=SOON)
    assert [verdict["cause"] for verdict in one.restarts("gpu0")] == ["process_stopped"] * 2


def test_no_library(one: Patient, nvml: Nvml) -> None:
    """Fault 38: without a driver's library ComfyUI is watched as well as with one."""
    nvml.uninstall()
    listener = one.listener()
    listener.kill()
    one.wait_for_next_life(listener.pid, "comfyui-health", SOON)
    one.wait_for(lambda: one.log("comfyui-health").count("the GPUs can't be watched: ") == 1, SOON, "that is said")
    is_killed_when_stopped(one)
    one.wait_for_word("IDLE", instance="gpu0", deadline=SOON)
    one.stays(2.0)
    assert one.log("comfyui-health").count("the GPUs can't be watched: ") == 1
    assert [verdict["cause"] for verdict in one.restarts("gpu0")] == ["process_stopped"]


def test_a_driver_that_was_exchanged_under_it(one: Patient, nvml: Nvml) -> None:
    """Fault 38: what runs goes on; what has to be started anew is held, since it could only fail, and that is said."""
    pid = one.pid()
    nvml.fail("LIB_RM_VERSION_MISMATCH")
    listener = one.listener()
    listener.kill()
    one.wait_for_word("GPU_FAULT", instance="gpu0", deadline=SOON)
    assert one.info().pid == pid
    assert one.restarts("gpu0") == []
    held = is_killed_when_stopped(one)
    one.wait_for(lambda: "waiting (gpu_fault)" in one.log(), SOON, "held")
    assert "different versions" in one.status()[0]["text"]
    nvml.mend()
    one.ok("start")
    one.wait_for_word("IDLE", instance="gpu0", deadline=SOON)
    assert one.info().pid == held


def test_places_that_were_swapped(fleet: Patient, nvml: Nvml) -> None:
    """Fault 39: after ``apply`` each instance computes on the same physical GPU as before, wherever that is now."""
    first, second = Card(CARD, uuid="GPU-first"), Card(CARD, uuid="GPU-second")
    nvml.cards([first, second])
    fleet.up("gpu0", "gpu1")
    assert devices(fleet) == {"gpu0": "0", "gpu1": "1"}
    nvml.cards([second, first])
    fleet.ok("apply")
    assert devices(fleet) == {"gpu0": "1", "gpu1": "0"}
    for name in ("gpu0", "gpu1"):
        fleet.wait_for_word("IDLE", instance=name, deadline=SOON)
        assert fleet.restarts(name) == []


def devices(patient: Patient) -> dict[str, str]:
    """Return the GPU of each instance that runs, by NVML's index."""
    commands = {name: psutil.Process(patient.pid(f"comfyui:{name}")).cmdline() for name in ("gpu0", "gpu1")}
    return {name: argv[argv.index("--cuda-device") + 1] for name, argv in commands.items()}
