"""Nodes of the stand-in's own: jobs that take a chosen time, fail, or end the process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from comfy_supervisor.standin.node_types import NodeType, Result, Run

_CATEGORY = "stand-in"
_PIECE = 64 * 1024
"""Bytes that are read at once, at most."""


class AcceleratorError(RuntimeError):
    """CUDA's errors as torch reports them (2.8 and later)."""


class OutOfMemoryError(RuntimeError):
    """CUDA is out of memory, as torch reports it."""


for _error in (AcceleratorError, OutOfMemoryError):
    _error.__module__ = "torch"  # what a job's record shows is the full name

_POISONED = (
    "CUDA error: an illegal memory access was encountered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call,"
    " so the stacktrace below might be incorrect.\n"
    "For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
)
_INVALID = "CUDA error: invalid argument\n"
"""An error of one call only: the context lives on."""
_OUT_OF_MEMORY = (
    "Allocation on device 0 would exceed allowed memory. (out of memory)\n"
    "Currently allocated     : 22.31 GiB\n"
    "Requested               : 4.00 GiB\n"
    "Device limit            : 23.64 GiB\n"
)


def poisoned() -> AcceleratorError:
    """Return the error that every use of a broken CUDA context raises."""
    return AcceleratorError(_POISONED)


def fault_nodes() -> list[NodeType]:
    """Return StandinSleep, StandinRemote, StandinLoad, StandinFail and StandinCrash."""
    return [
        NodeType(
            "StandinSleep",
            "Sleep",
            _sleep,
            {
                "required": {"seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1e6})},
                "optional": {
                    "steps": ("INT", {"default": 10, "min": 1, "max": 1_000_000}),
                    "silent": ("BOOLEAN", {"default": False}),
                    "burn": ("BOOLEAN", {"default": False}),
                },
            },
            returns=("FLOAT",),
            is_output=True,
            is_volatile=True,
            category=_CATEGORY,
            description="Takes `seconds`, in `steps` with progress unless `silent`; burns CPU if `burn`.",
        ),
        NodeType(
            "StandinRemote",
            "Remote",
            _wait,
            {"required": {"seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1e6})}},
            is_output=True,
            is_volatile=True,
            is_remote=True,
            category=_CATEGORY,
            description="Takes `seconds` without a word, as a node does that waits for an API elsewhere.",
        ),
        NodeType(
            "StandinLoad",
            "Load",
            _load,
            {
                "required": {
                    "seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1e6}),
                    "mib_per_second": ("FLOAT", {"default": 2.0, "min": 0.1, "max": 1e6}),
                }
            },
            is_output=True,
            is_volatile=True,
            category=_CATEGORY,
            description="Reads a file over and over for `seconds`, as one reads a model from a slow disk.",
        ),
        NodeType(
            "StandinFail",
            "Fail",
            _fail,
            {"required": {"kind": (list(_FAILURES), {"default": "error"})}},
            is_output=True,
            is_volatile=True,
            category=_CATEGORY,
            description="Fails as a broken node does, as a broken CUDA context does, or for want of memory.",
        ),
        NodeType(
            "StandinCrash",
            "Crash",
            _crash,
            {
                "required": {"how": (list(CRASHES), {"default": "segfault"})},
                "optional": {"code": ("INT", {"default": 1, "min": 0, "max": 255})},
            },
            is_output=True,
            is_volatile=True,
            category=_CATEGORY,
            description="Ends the whole process.",
        ),
    ]


def _sleep(run: Run, inputs: dict[str, Any]) -> Result:
    seconds, steps = inputs["seconds"], inputs.get("steps", 10)
    for step in range(1, steps + 1):
        if inputs.get("burn", False):
            _burn(run, seconds / steps)
        else:
            run.control.sleep(seconds / steps)
        if not inputs.get("silent", False):
            run.progress(step, steps)
    return Result((seconds,), {"text": [f"slept {seconds:g} s"]})


def _burn(run: Run, seconds: float) -> None:
    """Use a CPU, with the interpreter's lock let go only between two sums."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(200_000))
        run.control.checkpoint()


def _wait(run: Run, inputs: dict[str, Any]) -> Result:
    run.control.sleep(inputs["seconds"])
    return Result()


def _load(run: Run, inputs: dict[str, Any]) -> Result:
    end = time.monotonic() + inputs["seconds"]
    with Path(sys.executable).open("rb", buffering=0) as model:
        while time.monotonic() < end:
            size = len(model.read(_PIECE)) or model.seek(0)
            run.control.sleep(size / (inputs["mib_per_second"] * 1024**2))
    return Result()


def _fail(run: Run, inputs: dict[str, Any]) -> Result:
    raise _FAILURES[inputs["kind"]](run)


def _plain_error(_run: Run) -> Exception:
    return RuntimeError("the stand-in's node was told to fail")


def _poison(run: Run) -> Exception:
    run.control.poison()
    return poisoned()


def _cuda_error(_run: Run) -> Exception:
    return AcceleratorError(_INVALID)


def _out_of_memory(_run: Run) -> Exception:
    return OutOfMemoryError(_OUT_OF_MEMORY)


_FAILURES: Mapping[str, Callable[[Run], Exception]] = {
    "error": _plain_error,
    "cuda_poisoned": _poison,
    "cuda_error": _cuda_error,
    "cuda_oom": _out_of_memory,
}


def _crash(_run: Run, inputs: dict[str, Any]) -> Result:
    CRASHES[inputs["how"]](inputs.get("code", 1))
    return Result()


def _abort(_code: int) -> None:
    os.abort()


def _segfault(_code: int) -> None:
    signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)  # sent to the process, it would let this thread go on


CRASHES: Mapping[str, Callable[[int], None]] = {"abort": _abort, "segfault": _segfault, "exit": os._exit}
"""Ways to end the process at once; the number is the exit code of ``exit``."""
