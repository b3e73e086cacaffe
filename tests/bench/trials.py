"""What goes wrong, or only seems to, and what came of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .wards import Ward

WINDOW = 240.0
"""Seconds after which what was not done counts as never done."""
LOADING = 300.0
"""Seconds for which a model is read."""
AFTERWARDS = 65.0
"""Seconds for which the new process is watched: one TICK_60 and a little more."""
_POLL = 0.1
_AT_ONCE = (3.0, 3.0)
"""Seconds to the new process where it is supervisord that sees the end of the last: a second, and its own pace."""


@dataclass(frozen=True)
class Trial:
    """One thing that goes wrong in a stand-in that is well."""

    name: str
    begin: Callable[[Ward], None]
    deaths: int = 1
    """New processes that are right; each more is a false restart."""
    most: tuple[float, float] | None = None
    """Seconds that we may take to the new process: with the default settings, and with the fast ones."""
    window: float = WINDOW
    alone: bool = False
    """It takes a whole core, so that it waits for the others that do."""


@dataclass
class Outcome:
    """What was seen, in seconds since it went wrong."""

    processes: list[float] = field(default_factory=list)
    """When each new process was there."""
    api: float | None = None
    """When the API of a new process answered first."""


def _crash(ward: Ward) -> None:
    os.kill(ward.pid(), signal.SIGSEGV)


def _stop(ward: Ward) -> None:
    os.kill(ward.pid(), signal.SIGSTOP)


def _worker_dies(ward: Ward) -> None:
    ward.order("worker_dies")
    ward.submit("StandinSleep", seconds=5.0)


def _stall(ward: Ward) -> None:
    ward.order("stall", deaf=True)
    ward.submit("StandinSleep", seconds=5.0)


def _sticky(ward: Ward) -> None:
    ward.order("cuda_poisoned")  # by chance: it is not the job's doing, which is tried again
    ward.submit("StandinSleep", seconds=0.1)


def _held(ward: Ward) -> None:
    ward.order("hold_answers", how="wait")


def _freeze(ward: Ward) -> None:
    ward.order("hold_answers", how="burn", seconds=60.0)


def _slow_start(ward: Ward) -> None:
    ward.orders.write_text("slow:20")
    os.kill(ward.pid(), signal.SIGKILL)


def _long_job(ward: Ward) -> None:
    ward.submit("StandinLoad", seconds=LOADING + 60.0, mib_per_second=2.0)


TRIALS = (
    Trial("crash (SIGSEGV)", _crash, most=_AT_ONCE),
    Trial("stopped (SIGSTOP), idle", _stop, most=(20, 12)),
    Trial("API holds every request", _held, most=(65, 25)),
    Trial("worker thread dies in a job", _worker_dies, most=(210, 60)),
    Trial("a job deadlocks, deaf to interrupts", _stall, most=(210, 60)),
    Trial("sticky CUDA error in a job", _sticky, most=(10, 10)),
    Trial("killed; each start takes 20 s", _slow_start, most=_AT_ONCE, window=120.0),
    Trial("honest: 60 s of CPU, API silent", _freeze, deaths=0, window=66.0, alone=True),
    Trial("honest: 5 min of reading 2 MiB/s", _long_job, deaths=0, window=LOADING),
)


def attempt(trial: Trial, ward: Ward) -> Outcome:
    """Let it go wrong, and return what came of it."""
    outcome, last = Outcome(), ward.pid()
    began = time.monotonic()
    trial.begin(ward)
    while (now := time.monotonic() - began) < min(trial.window, (outcome.api or trial.window) + AFTERWARDS):
        pid = ward.pid()
        if pid not in {0, last}:
            outcome.processes.append(now)
            last = pid
        if outcome.processes and outcome.api is None and ward.answers():
            outcome.api = time.monotonic() - began
        time.sleep(_POLL)
    return outcome
