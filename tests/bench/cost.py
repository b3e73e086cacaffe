"""What the health listener costs for eight instances: a share of a core, and memory."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.cli.service import Service
from tests.nvml import Nvml, compile_library
from tests.support import free_port, wait_until

from .report import Report, load, note, table

INSTANCES = 8
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
    """Measure the listener and its helper, while its instances idle and while each has a job."""
    parts, missed = [], []
    with _service() as service:
        for state in ("idle", "with a job each"):
            if state != "idle":
                for place in range(INSTANCES):
                    service.submit(JOB, service.port + place)
                _wait_for(service, "BUSY")
            note(f"cost: {INSTANCES} instances, {state}, {SECONDS:g} s")
            before = load()
            listener, helper = _uses(service)
            parts.append(f"{INSTANCES} instances, {state}; load {before} → {load()}:\n\n{_table(listener, helper)}")
            if listener.percent + helper.percent >= MOST_PERCENT or listener.rss + helper.rss > MOST_MIB * MIB:
                missed.append(f"the listener's cost, {INSTANCES} instances {state}")
    return Report("\n\n".join([_HOW, *parts]), missed)


_HOW = f"""\
{INSTANCES} stand-ins with a GPU each (of a compiled stand-in for NVML) under one listener with default settings, over
{SECONDS:g} s: the seconds of CPU that the kernel counted, as a share of one core. The job writes a progress bar into
the log, so that the listener looks for ended jobs at each turn."""


@contextmanager
def _service() -> Iterator[Service]:
    """Give a service with all the instances, each found well."""
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-bench-") as folder:
        machine = Path(folder, "machine")
        machine.mkdir()
        nvml = Nvml(compile_library(Path(folder)), machine)
        nvml.cards(["NVIDIA GeForce RTX 4090"] * INSTANCES)
        service = Service(nvml.environ, apart=True)
        try:
            service.port = free_port(INSTANCES)
            service.settings(gpu={"devices": "all"})
            service.ok("up", "-d")
            _wait_for(service, "IDLE")
            yield service
        finally:
            service.close()


def _wait_for(service: Service, word: str) -> None:
    wait_until(lambda: _words(service) == [word] * INSTANCES, 120.0, f"{word}: {_words(service)}")


def _words(service: Service) -> list[str]:
    return [json.loads(file.read_text())["word"] for file in service.state.glob("gpu*/status.json")]


def _uses(service: Service) -> tuple[Use, Use]:
    """Return what the listener and its helper use."""
    listener = psutil.Process(service.info("comfyui-health").pid)
    (helper,) = listener.children()
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
