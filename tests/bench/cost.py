"""What the health listener costs, and how that grows with its instances: a share of a core, and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from tests.cli.service import Service

from .fleet import fleet, keepers, wait_for
from .report import Report, load, note, table

INSTANCES = 8
FLEETS = (1, 8, 64)
"""Instances over which it grows."""
SECONDS = 60.0
MOST_PERCENT = 1.0
MOST_MIB = 64
MIB = 1024 * 1024
JOB = {"1": {"class_type": "StandinSleep", "inputs": {"seconds": 600.0, "steps": 1200}}}
"""Writes a progress bar into the log all the time, as most jobs do."""
HEADER = ("who", "of one core", "at most", "RSS", "PSS", "at most", "threads", "descriptors")


@dataclass(frozen=True)
class Use:
    """What a process used within a time."""

    percent: float
    """Of one core."""
    rss: int
    pss: int
    threads: int
    descriptors: int


def measure(_rounds: int) -> Report:
    """Measure the listener and its helper, while their instances idle and while each has a job; then how it grows."""
    parts, missed = [_HOW], []
    with fleet(INSTANCES) as service:
        for state in ("idle", "with a job each"):
            if state != "idle":
                _give_jobs(service)
            note(f"cost: {INSTANCES} instances, {state}, {SECONDS:g} s")
            before = load()
            listener, helper = _uses(service)
            parts.append(f"{INSTANCES} instances, {state}; load {before} → {load()}:\n\n{_table(listener, helper)}")
            if listener.percent + helper.percent >= MOST_PERCENT or listener.rss + helper.rss > MOST_MIB * MIB:
                missed.append(f"the listener's cost, {INSTANCES} instances {state}")
    return Report("\n\n".join([*parts, _GROWS, table(GROWTH_HEADER, map(_grown, FLEETS))]), missed)


def _grown(instances: int) -> tuple[str, ...]:
    """Return what so many instances cost that do nothing but answer."""
    note(f"cost: {instances} cheap instances, {SECONDS:g} s")
    before = load()
    try:
        with fleet(instances, is_cheap=True) as service:
            before = load()
            listener, helper = _uses(service)
    except AssertionError as error:  # so many at once may be too much for a busy machine
        note(str(error))
        return (str(instances), *("did not come up in time",) * 2, *("",) * 4, f"{before} → {load()}")
    shares = (f"{use.percent:.2f} %" for use in (listener, helper))
    sizes = (f"{use.rss / MIB:.1f} MiB" for use in (listener, helper))
    threads = (str(listener.threads), str(listener.descriptors))
    return (str(instances), *shares, *sizes, *threads, f"{before} → {load()}")


def _give_jobs(service: Service) -> None:
    for place in range(INSTANCES):
        service.submit(JOB, service.port + place)
    wait_for(service, INSTANCES, "BUSY")


_HOW = f"""\
{INSTANCES} stand-ins with a GPU each (of a compiled stand-in for NVML) under one listener with default settings, over
{SECONDS:g} s: the seconds of CPU that the kernel counted, as a share of one core. The job writes a progress bar into
the log, so that the listener looks for ended jobs at each turn."""
GROWTH_HEADER = (
    "instances",
    "listener, of one core",
    "its GPU helper",
    "listener, RSS",
    "helper, RSS",
    "threads",
    "descriptors",
    "load",
)
_GROWS = f"""\
How it grows, over {SECONDS:g} s: instances that do nothing but answer what the listener asks while they idle, since 64
stand-ins are too many for a small machine."""


def _uses(service: Service) -> tuple[Use, Use]:
    """Return what the listener and its helper use."""
    listener, helper = keepers(service)
    began, before = time.monotonic(), [_cpu(listener), _cpu(helper)]
    time.sleep(SECONDS)
    took = time.monotonic() - began
    after = [_cpu(listener), _cpu(helper)]
    shares = [100.0 * (late - early) / took for early, late in zip(before, after, strict=True)]
    return _use(listener, shares[0]), _use(helper, shares[1])


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _use(process: psutil.Process, percent: float) -> Use:
    memory = process.memory_full_info()
    return Use(percent, memory.rss, memory.pss, process.num_threads(), process.num_fds())


def _table(listener: Use, helper: Use) -> str:
    bounds = (f"{MOST_PERCENT:g} %", f"{MOST_MIB} MiB")
    return table(HEADER, [_row("listener", listener, *bounds), _row("its GPU helper", helper, "", "")])


def _row(who: str, use: Use, most_percent: str, most_mib: str) -> tuple[str, ...]:
    rss, pss = (f"{size / MIB:.1f} MiB" for size in (use.rss, use.pss))
    return (who, f"{use.percent:.2f} %", most_percent, rss, pss, most_mib, str(use.threads), str(use.descriptors))
