"""What the health listener costs, and how that grows with its instances: a share of a core, and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from tests.cli.service import Service

from .fleet import fleet, keepers, wait_for
from .report import Report, load, note, table

FLEETS = (1, 8, 64)
"""Instances of a listener."""
BOUND = 8
"""So many have to cost no more than this."""
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
    """Measure the listener and its helper, while their instances idle and while each has a job."""
    parts, missed = [], []
    for instances in FLEETS:
        with fleet(instances) as service:
            for state in ("idle", "with a job each"):
                if state != "idle":
                    _give_jobs(service, instances)
                note(f"cost: {instances} instances, {state}, {SECONDS:g} s")
                before = load()
                listener, helper = _uses(service)
                shown = _table(listener, helper, bound=instances == BOUND)
                parts.append(f"{instances} instances, {state}; load {before} → {load()}:\n\n{shown}")
                if instances == BOUND and _is_too_much(listener, helper):
                    missed.append(f"the listener's cost, {instances} instances {state}")
    return Report("\n\n".join([_HOW, *parts]), missed)


def _give_jobs(service: Service, instances: int) -> None:
    for place in range(instances):
        service.submit(JOB, service.port + place)
    wait_for(service, instances, "BUSY")


def _is_too_much(listener: Use, helper: Use) -> bool:
    return listener.percent + helper.percent >= MOST_PERCENT or listener.rss + helper.rss > MOST_MIB * MIB


_HOW = f"""\
Stand-ins with a GPU each (of a compiled stand-in for NVML) under one listener with default settings, over
{SECONDS:g} s: the seconds of CPU that the kernel counted, as a share of one core. The job writes a progress bar into
the log, so that the listener looks for ended jobs at each turn."""


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


def _table(listener: Use, helper: Use, *, bound: bool) -> str:
    bounds = (f"{MOST_PERCENT:g} %", f"{MOST_MIB} MiB") if bound else ("", "")
    return table(HEADER, [_row("listener", listener, *bounds), _row("its GPU helper", helper, "", "")])


def _row(who: str, use: Use, most_percent: str, most_mib: str) -> tuple[str, ...]:
    rss, pss = (f"{size / MIB:.1f} MiB" for size in (use.rss, use.pss))
    return (who, f"{use.percent:.2f} %", most_percent, rss, pss, most_mib, str(use.threads), str(use.descriptors))
