"""Nodes for a real ComfyUI that do to it what broken and busy ones do."""

import ctypes
import itertools
import signal
import threading
import time
from collections import deque

import comfy.utils
import torch

_FOR_EVER = 1e9
_CYCLES = 1e9
"""Of a GPU's clock in a second, more or less."""
_STORE = b"""
.version 7.0
.target sm_75
.address_size 64
.visible .entry store() { .reg .u64 %a; mov.u64 %a, 0x123400; st.global.u32 [%a], 1; ret; }
"""
"""A kernel, in NVIDIA's PTX, that writes where nothing is."""


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


class FaultCudaBusy(_Fault):
    """Has the GPU compute, in one kernel after the other, while it sleeps itself; reports no progress."""

    def run(self, value):
        kernel = min(value, 0.25)
        end = time.monotonic() + value
        while time.monotonic() < end:
            torch.cuda._sleep(int(kernel * _CYCLES))
            done = torch.cuda.Event(blocking=True)
            done.record()
            done.synchronize()
        return ()


class FaultCudaHold(_Fault):
    """Takes GiB of the GPU's memory, and waits for ever."""

    def run(self, value):
        held = torch.zeros(int(value * 2**30), dtype=torch.uint8, device="cuda")
        torch.cuda.synchronize()
        threading.Event().wait()
        return (held,)


class FaultCudaMemory(_Fault):
    """Wants more memory than any GPU has."""

    def run(self, value):  # noqa: ARG002
        torch.zeros(2**44, dtype=torch.uint8, device="cuda")
        return ()


class FaultCudaAssert(_Fault):
    """Uses an index that a tensor on the GPU does not have."""

    def run(self, value):  # noqa: ARG002
        torch.zeros(1, device="cuda")[torch.tensor([7], device="cuda")].cpu()
        return ()


class FaultCudaAccess(_Fault):
    """Writes to GPU memory that nobody has."""

    def run(self, value):  # noqa: ARG002
        torch.zeros(1, device="cuda")
        driver = ctypes.CDLL("libcuda.so.1")
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        assert driver.cuModuleLoadData(ctypes.byref(module), _STORE) == 0
        assert driver.cuModuleGetFunction(ctypes.byref(function), module, b"store") == 0
        assert driver.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, None, None) == 0
        torch.cuda.synchronize()
        return ()


NODE_CLASS_MAPPINGS = {kind.__name__: kind for kind in _Fault.__subclasses__()}
