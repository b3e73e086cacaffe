"""Faults of GPUs, and of several instances at once."""

from __future__ import annotations

import time

import psutil

from tests.faults.test_gpu import helper
from tests.nvml import Card
from tests.support import is_running, wait_until

from .common import borne, is_still_cared_for, with_gpus
from .fault import Expected, Fault
from .of_comfyui import GPUS_QUICKLY, ONE_GPU
from .ward import Ward

_PLACES = range(3)


def _one(ward: Ward) -> None:
    with_gpus(1)(ward)
    ward.inject(GPUS_QUICKLY)


def _flap(ward: Ward) -> None:
    end = time.monotonic() + 9.0
    while time.monotonic() < end:
        for place in range(2):
            ward.order("hold_answers", ward.port + place, seconds=2.2)
        borne(ward, 3.0)
    ward.check(len(ward.decisions("gpu0")) < 30, "to and fro")
    _all_well(ward)


def _all_well(ward: Ward) -> None:
    for name in ward.instances:
        ward.wait_for_word("IDLE", instance=name)


def _all_deaf(ward: Ward) -> None:
    for place in _PLACES:
        ward.order("hold_answers", ward.port + place)
    for name in ward.instances:
        ward.wait_for_word("BLIND", instance=name)
    borne(ward, 3.0)
    for place in _PLACES:
        ward.order("recover", ward.port + place)
    _all_well(ward)


def _lost(ward: Ward) -> None:
    helper(ward)
    ward.strike()
    pid = ward.pid()
    for function in ("nvmlDeviceGetUUID", "nvmlDeviceGetHandleByIndex_v2"):
        ward.nvml.fail("GPU_IS_LOST", function, card=0)
    ward.wait_for_word("GPU_FAULT", instance="gpu0")
    ward.wait_for_next_life(pid)
    ward.wait_for(lambda: "waiting (gpu_fault)" in ward.log(), what="held")
    borne(ward, 3.0)
    ward.nvml.mend()
    ward.ok("start")
    ward.relieve()
    _all_well(ward)


def _xid(ward: Ward) -> None:
    helper(ward)
    ward.nvml.xid(31)
    borne(ward, 3.0)
    ward.strike()
    pid = ward.pid()
    ward.order("hold_answers")
    ward.wait_for_next_life(pid)


def _call_hangs(ward: Ward) -> None:
    stuck = helper(ward).pid
    ward.nvml.hang("nvmlDeviceGetUUID", card=0)
    ward.strike()
    is_still_cared_for(ward, instance="gpu0")
    wait_until(lambda: not is_running(stuck), 60, "the helper is still there")


def _no_library(ward: Ward) -> None:
    ward.nvml.uninstall()
    listener = ward.listener()
    listener.kill()
    ward.wait_for_next_life(listener.pid, "comfyui-health")
    ward.wait_for(lambda: "the GPUs can't be watched: " in ward.log("comfyui-health"), what="that is said")
    ward.strike()
    is_still_cared_for(ward, instance="gpu0")


def _swapped(ward: Ward) -> None:
    before = _places(ward)
    ward.nvml.cards([Card("NVIDIA GeForce RTX 4090").at(1), Card("NVIDIA GeForce RTX 4090").at(0)])
    ward.ok("apply")
    after = _places(ward)
    ward.check(before == {"gpu0": "0", "gpu1": "1"}, f"{before}")
    ward.check(after == {"gpu0": "1", "gpu1": "0"}, f"after the swap: {after}")
    _all_well(ward)


def _places(ward: Ward) -> dict[str, str]:
    commands = {name: psutil.Process(ward.pid(f"comfyui:{name}")).cmdline() for name in ward.instances}
    return {name: argv[argv.index("--cuda-device") + 1] for name, argv in commands.items()}


DEAF = ("api_unresponsive",)
FAULTS = (
    Fault(
        29,
        "two instances flap, a third is well",
        Expected("N, no oscillation"),
        _flap,
        ("idle",),
        ONE_GPU,
        with_gpus(3),
        quick=False,
    ),
    Fault(
        31,
        "all instances deaf at once",
        Expected("BLIND, A, N", alerts=DEAF, words=("BLIND",)),
        _all_deaf,
        ("idle",),
        ONE_GPU,
        with_gpus(3),
        quick=False,
    ),
    Fault(
        35,
        "the GPU is lost",
        Expected("GPU_FAULT, held, no loop", 1, ("gpu_lost",), words=("GPU_FAULT",)),
        _lost,
        ("idle",),
        ONE_GPU,
        _one,
        quick=False,
    ),
    Fault(
        36,
        "Xid 31, then a dead API",
        Expected("N, then R once", 1, ("cuda_poisoned",)),
        _xid,
        ("idle",),
        ONE_GPU,
        _one,
        quick=False,
    ),
    Fault(
        37,
        "a call of NVML hangs",
        Expected("the helper is abandoned; a SIGSTOP is R", 1, ("process_stopped",)),
        _call_hangs,
        ("idle",),
        ONE_GPU,
        _one,
        quick=False,
    ),
    Fault(
        38,
        "the driver's library is gone",
        Expected("a SIGSTOP is R as ever", 1, ("process_stopped",)),
        _no_library,
        ("idle",),
        ONE_GPU,
        _one,
        quick=False,
    ),
    Fault(
        39,
        "the order of the GPUs is swapped",
        Expected("the same GPU after `apply`, which restarts", 2),
        _swapped,
        ("idle",),
        ONE_GPU,
        with_gpus(2),
        quick=False,
    ),
)
