"""Keeps watching the GPUs, by way of a helper process that may be given up; whoever asks is never made to wait."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..model import Driver, GpuSight
from .helper import NoAnswerError, end, hangs, start
from .pci import devices_folder, nvidia_gpus
from .sights import Device, Knowledge, Look, understand

_SCRIPT = Path(__file__).with_name("nvml_watch.py")
_CHUNK = 64 * 1024
_LONGEST_LINE = 1024 * 1024
_STRANGE = "the process that watches the GPUs is of another release than this one: start it anew"
_REAP = 0.5
"""Seconds that a helper has to be gone, before it is killed."""
_JOIN = 0.5
"""Seconds that the thread has to end; the process ends without it, and the helper with that."""


@dataclass(frozen=True)
class Pace:
    """When things happen, in seconds."""

    period: float = 5.0
    """Between two looks."""
    fresh: float = 15.0
    """How long a look tells how things are. Without a new one for so long, the helper hangs."""
    start_up: float = 60.0
    """What NVML may take to start: it wakes GPUs that nobody uses, one after the other."""
    first_delay: float = 10.0
    """From a helper's failure to the next helper; doubled with each in a row."""
    longest_delay: float = 300.0
    """The limit of that, and the time between two looks at a driver or GPUs that don't work."""

    def delay_after(self, failures: int) -> float:
        """Return how long after so many failures in a row the next helper is started."""
        return min(self.first_delay * 2.0 ** min(failures - 1, 16), self.longest_delay)


class Watch:
    """What the machine's GPUs are doing, as it was seen last.

    A watched GPU can't be reset: the driver counts the helper as its user. So no helper runs while no GPU works.
    """

    def __init__(self, pace: Pace | None = None) -> None:
        """Keep the pace; nothing is looked at before ``start``."""
        self._pace = pace or Pace()
        self._knowledge = Knowledge()
        self._lock = threading.Lock()
        """Held while knowledge is exchanged, never while anything is waited for."""
        self._anew = False
        """What the running helper says no longer counts: a fresh one is wanted."""
        self._closed = False
        self._wake = -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch, on a thread of its own."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="gpus", daemon=True)
        self._thread.start()

    def look_every(self, period: float) -> None:
        """Look so often, in seconds, from now on."""
        with self._lock:
            if period != self._pace.period:
                self._pace = replace(self._pace, period=period)
                self._anew = True
                self._rouse()

    def sight(self, gpu: str, pids: Collection[int], since: float = 0.0) -> GpuSight:
        """Return what is known of a GPU or MIG instance, by UUID, in use by these processes; at once.

        ``since`` (CLOCK_MONOTONIC) is where their life began: the driver's errors before that aren't theirs. Those
        that need a person, and a GPU that is lost, stay a fault until ``forget``, or until it is seen to work.
        """
        return self._knowledge.sight(gpu, pids, since, time.monotonic() - self._pace.fresh)

    @property
    def devices(self) -> tuple[Device, ...]:
        """What the GPUs and MIG instances were doing when they were seen last; empty if that is long ago."""
        known = self._knowledge
        return known.devices if known.at >= time.monotonic() - self._pace.fresh else ()

    @property
    def trouble(self) -> str:
        """Why nothing can be seen, in one line; empty: something can, or nothing was tried yet."""
        return self._knowledge.trouble

    def forget(self, gpu: str) -> None:
        """Forget a GPU's faults, as an operator wants it; whether it works is looked at anew."""
        with self._lock:
            self._knowledge = self._knowledge.without(gpu)
            self._anew = True
            self._rouse()

    def close(self) -> None:
        """End the helper and the thread; takes half a second at most."""
        with self._lock:
            self._closed = True
            self._rouse()
        if self._thread:
            self._thread.join(_JOIN)

    def _rouse(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        failures = 0
        while not self._closed:
            self._anew = False
            began = time.monotonic()
            try:
                pause = self._watch_with_a_helper()
                failures = 0
            except NoAnswerError as error:
                self._despair(error.text)
                failures = 1 if time.monotonic() - began > self._pace.longest_delay else failures + 1
                pause = self._pace.delay_after(failures)
            self._pause(pause)
        with self._lock:
            os.close(self._wake)
            self._wake = -1

    def _despair(self, text: str) -> None:
        """Keep why nothing can be seen; what is known of faults stays."""
        with self._lock:
            self._knowledge = replace(self._knowledge, trouble=text)

    def _watch_with_a_helper(self) -> float:
        """Watch until a new helper is wanted; return after how many seconds. Raises NoAnswerError if it fails."""
        hardware = nvidia_gpus(devices_folder())
        process = start(_SCRIPT, str(self._pace.period), stdin=subprocess.PIPE, stderr=None)
        renewal = time.monotonic() + self._pace.longest_delay
        try:
            for line in self._lines(process):
                if not self._hear(line, hardware):
                    return self._pace.longest_delay
                # To NVML, a GPU that it once lost stays lost until it is initialized anew.
                if time.monotonic() > renewal and not self._knowledge.complete:
                    return 0.0
        finally:
            _end_kindly(process)
        return 0.0

    def _lines(self, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        """Give the helper's lines as they come, until it is no longer wanted; raises NoAnswerError."""
        assert process.stdout  # noqa: S101  (it was started with a pipe)
        output = process.stdout.fileno()
        begun = b""
        deadline = time.monotonic() + self._pace.start_up + self._pace.fresh
        while not (self._anew or self._closed):
            if not self._pause(deadline - time.monotonic(), output):
                if time.monotonic() >= deadline:
                    raise NoAnswerError(Driver.HANGS, hangs("the process that watches the GPUs says nothing"))
                continue
            chunk = os.read(output, _CHUNK)
            if not chunk:
                raise _ended(process)
            *lines, begun = (begun + chunk).split(b"\n")
            if len(begun) > _LONGEST_LINE:
                raise NoAnswerError(Driver.BROKEN, _STRANGE)
            if lines:
                deadline = time.monotonic() + self._pace.fresh
            yield from lines

    def _hear(self, line: bytes, hardware: Sequence[str]) -> bool:
        """Learn from a line; return whether there is anything to go on watching. Raises NoAnswerError."""
        try:
            seen = understand(json.loads(line), hardware)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise NoAnswerError(Driver.BROKEN, _STRANGE) from error
        with self._lock:
            if not self._anew:
                self._knowledge = self._knowledge.after(seen)
            return self._anew or (isinstance(seen, Look) and self._knowledge.working > 0)

    def _pause(self, seconds: float, output: int = -1) -> bool:
        """Wait so long, or until roused; return as soon as there is something to read, and whether there is."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if output >= 0:
            poll.register(output, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        return output in ready


def _end_kindly(process: subprocess.Popen[bytes]) -> None:
    """Have a helper end between two looks, and kill it if it does not."""
    assert process.stdin  # noqa: S101  (it was started with a pipe)
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_REAP)
    end(process)


def _ended(process: subprocess.Popen[bytes]) -> NoAnswerError:
    """Return what it means that a helper ended by itself; one that was not asked to."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(_REAP)
    how = f"exit status {process.returncode}"
    if process.returncode is not None and process.returncode < 0:
        how = signal.strsignal(-process.returncode) or f"signal {-process.returncode}"
    return NoAnswerError(Driver.BROKEN, f"the process that watches the GPUs ended: {how}")
