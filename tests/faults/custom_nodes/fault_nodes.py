"""Nodes for a real ComfyUI that do to it what broken and busy ones do."""

import itertools
import signal
import threading
import time
from collections import deque

import comfy.utils

_FOR_EVER = 1e9


class _Fault:
    """A node that takes some seconds, or an error's message, and returns nothing."""

    INPUT = ("FLOAT", {"default": _FOR_EVER, "min": 0.0, "max": _FOR_EVER})
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "faults"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802  # ComfyUI's name for it
        return {"required": {"value": cls.INPUT}}

    @classmethod
    def IS_CHANGED(cls, **_inputs):  # noqa: N802
        return float("nan")


class FaultDeadlock(_Fault):
    """Waits for a lock that it holds itself."""

    def run(self, value):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire(timeout=min(value, threading.TIMEOUT_MAX))
        return ()


class FaultHoldGil(_Fault):
    """Holds the interpreter's lock, using a CPU, in one call of a function in C."""

    def run(self, value):
        sample, began = 5_000_000, time.perf_counter()
        deque(itertools.repeat(None, sample), maxlen=0)
        pace = sample / (time.perf_counter() - began)
        deque(itertools.repeat(None, round(pace * value)), maxlen=0)
        return ()


class FaultEndThread(_Fault):
    """Ends the thread that executes jobs: no handler of a node's errors catches it."""

    def run(self, value):
        raise SystemExit(f"after {value} s")


class FaultCrash(_Fault):
    """Ends the process as a broken library does."""

    def run(self, value):
        time.sleep(value)
        signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)  # sent to the process, this thread would go on
        return ()


class FaultFail(_Fault):
    """Fails with a message."""

    INPUT = ("STRING", {"default": "", "multiline": True})

    def run(self, value):
        raise RuntimeError(value)


class FaultCompute(_Fault):
    """Computes in steps, and reports them."""

    def run(self, value):
        steps = 20
        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            end = time.monotonic() + value / steps
            while time.monotonic() < end:
                sum(range(50_000))
            bar.update(1)
        return ()


NODE_CLASS_MAPPINGS = {
    kind.__name__: kind for kind in (FaultDeadlock, FaultHoldGil, FaultEndThread, FaultCrash, FaultFail, FaultCompute)
}
