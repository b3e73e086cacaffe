"""The helper process that keeps watching the GPUs: one JSON line on its standard output every PERIOD seconds.

Run by its path, with PERIOD as its argument. A line is ``{at, gpus, xids}``, or ``{"error": [code, text]}`` if NVML
as a whole fails, after which it ends. ``at`` is a time of CLOCK_MONOTONIC. ``gpus`` has for each GPU, or each
MIG instance of it, ``{index, mig, errors}`` as ``nvml.py`` has them, and

- ``uuid``, and ``gpu_instance``, NVML's number of a MIG instance;
- ``percent``: how busy it is;
- ``busy``: ``[[pid, percent of its SMs]]``, of the processes that used it since the line before;
- ``processes``: ``[[pid, MiB or null]]``, of all that have a context on it;
- ``here``: whether any of these pids is a process that this one can see (a container may be shown its host's).

``xids`` are the driver's errors since the line before: ``[[at, index, gpu_instance or null, xid]]``.

It ends when its standard input does: then whoever started it is gone, or wants no more. It does so between two looks
(drivers have been seen to freeze a GPU after a process was killed within a call), but waits for no call that hangs.
"""

from __future__ import annotations

import _thread
import json
import os
import sys
import time
from functools import partial
from types import ModuleType

try:
    from .nvml import Row, attempt, gpu_rows, library, read, text
except ImportError:  # run by its path, it belongs to no package
    from nvml import Row, attempt, gpu_rows, library, read, text  # type: ignore[import-not-found,no-redef]

_MIB = 1024 * 1024
_PATIENCE = 1.0
"""Seconds that a look may still take when it is no longer wanted."""
_MARGIN = 1.0
"""Seconds that NVML's figures may lag behind."""
_MOST_EVENTS = 1000
"""Events to take between two lines; those of a flood are all the same."""
_WHOLE_GPU = 0xFFFFFFFF
_HIGHEST_PID = 2**22
_HIGHEST_PERCENT = 100


def main() -> None:
    """Print a line every so many seconds, until there is nobody to read it or NVML fails."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what a driver's library prints must not get between the lines
        looking = _thread.allocate_lock()
        _thread.start_new_thread(_end_with_input, (looking,))
        nvml = library()
        watch = _Watch(nvml, float(sys.argv[1]))
        try:
            with looking:
                nvml.nvmlInit()
                watch.register()
            while True:
                xids = watch.listen()
                with looking:
                    line = watch.look()
                _print(out.fileno(), {**line, "xids": xids})
        except nvml.NVMLError as error:
            _print(out.fileno(), {"error": [error.value, str(error)]})
        except BrokenPipeError:
            pass
    os._exit(0)  # as in nvml.py: the library's own ending can hang


def _end_with_input(looking: _thread.LockType) -> None:
    """End the process when standard input ends, after the look that is being taken if that is soon."""
    os.read(0, 1)
    looking.acquire(timeout=_PATIENCE)
    os._exit(0)


def _print(out: int, line: Row) -> None:
    """Write a whole line; without Python's buffer, which would be written once more at the end."""
    rest = json.dumps(line, separators=(",", ":")).encode() + b"\n"
    while rest:
        rest = rest[os.write(out, rest) :]


class _Watch:
    """Looks at all GPUs, and listens for the driver's errors in between."""

    def __init__(self, nvml: ModuleType, period: float) -> None:
        self._nvml = nvml
        self._period = period
        self._events: object = None
        self._indices: dict[int | None, int] = {}
        """Of the GPUs' handles, which are addresses."""
        self._next = time.monotonic()

    def register(self) -> None:
        """Ask for the driver's errors; where they aren't supported (WSL 2, vGPU) there are none."""
        nvml = self._nvml
        read(nvml, events=self._create_events)
        for index in range(nvml.nvmlDeviceGetCount()):
            read(nvml, events=partial(self._register, index))

    def _create_events(self) -> None:
        self._events = self._nvml.nvmlEventSetCreate()

    def _register(self, index: int) -> None:
        gpu = self._nvml.nvmlDeviceGetHandleByIndex(index)
        self._indices[_address(gpu)] = index
        if self._events is not None:
            self._nvml.nvmlDeviceRegisterEvents(gpu, self._nvml.nvmlEventTypeXidCriticalError, self._events)

    def look(self) -> Row:
        """Return what there is to see."""
        self._next = time.monotonic() + self._period
        count = self._nvml.nvmlDeviceGetCount()
        gpus = [row for index in range(count) for row in gpu_rows(self._nvml, index, self._describe)]
        return {"at": time.monotonic(), "gpus": gpus}

    def listen(self) -> list[list[object]]:
        """Wait until the next look, and return the errors that came; the time of each is that of its last one."""
        heard: dict[tuple[object, ...], float] = {}
        for _ in range(_MOST_EVENTS):
            left = self._next - time.monotonic()
            if left <= 0 or not self._indices or self._events is None:
                break
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._events, int(left * 1000) + 1)
            except self._nvml.NVMLError:  # TIMEOUT; or GPU_IS_LOST, at once and each time
                break
            instance = None if event.gpuInstanceId == _WHOLE_GPU else event.gpuInstanceId
            heard[self._index(event.device), instance, event.eventData] = time.monotonic()
        time.sleep(max(0.0, self._next - time.monotonic()))
        return [[at, *key] for key, at in heard.items() if key[0] is not None]

    def _index(self, gpu: object) -> object:
        """Return the index of an event's GPU: a lost one may not tell it, and its handle may be another; then None."""
        known = self._indices.get(_address(gpu))
        return attempt(self._nvml, self._nvml.nvmlDeviceGetIndex, gpu) if known is None else known

    def _describe(self, nvml: ModuleType, _gpu: object, device: object) -> Row:
        """Return what a GPU or MIG instance is doing, and for whom."""
        row = read(
            nvml,
            uuid=lambda: text(nvml.nvmlDeviceGetUUID(device)),
            gpu_instance=lambda: nvml.nvmlDeviceGetGpuInstanceId(device),
            percent=lambda: nvml.nvmlDeviceGetUtilizationRates(device).gpu,
            busy=lambda: self._busy(device),
            processes=lambda: self._processes(device),
        )
        pids = {pid for field in ("busy", "processes") for pid, _ in row.get(field, [])}  # type: ignore[attr-defined]
        return {**row, "here": any(map(_exists, pids))}

    def _busy(self, device: object) -> list[list[int]]:
        """Return how busy each process kept a device since the last look.

        The time is the wall clock's, as NVML's is: after a step of the clock the figures are wrong for a moment.
        """
        since = time.time() - self._period - _MARGIN
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(device, int(since * 1e6))
        except self._nvml.NVMLError as error:
            if error.value in {self._nvml.NVML_SUCCESS, self._nvml.NVML_ERROR_NOT_FOUND}:
                return []  # nobody used it; pynvml takes a success with nothing in it for an error
            raise
        if any(sample.smUtil > _HIGHEST_PERCENT for sample in samples):  # seen of real drivers, in the millions
            raise ValueError("NVML tells no sensible utilization")
        return [[sample.pid, sample.smUtil] for sample in samples if sample.pid]

    def _processes(self, device: object) -> list[list[int | None]]:
        """Return all processes with a context on a device, and their memory where NVML knows it."""
        # The functions without a version raise an exception of another kind with drivers before 510.
        found = [
            *self._nvml.nvmlDeviceGetComputeRunningProcesses_v3(device),
            *self._nvml.nvmlDeviceGetGraphicsRunningProcesses_v3(device),
        ]
        return [[each.pid, None if each.usedGpuMemory is None else each.usedGpuMemory // _MIB] for each in found]


def _address(handle: object) -> int | None:
    import ctypes  # noqa: PLC0415  (its import opens a library; pynvml has it already)

    return ctypes.cast(handle, ctypes.c_void_p).value  # type: ignore[arg-type]


def _exists(pid: int) -> bool:
    """Tell whether there is such a process here, also one that /proc hides."""
    if not 0 < pid <= _HIGHEST_PID:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


if __name__ == "__main__":
    main()
