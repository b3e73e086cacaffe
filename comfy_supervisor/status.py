"""What runs: supervisord's word, the launcher's hold, the API's answer, the GPU's memory and the jobs, put together."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from . import gpu, presence, rpc
from .health import ledger, orders
from .health.policy.evidence import Life
from .health.senses import heartbeat, probe, vitals
from .health.senses.heartbeat import Heartbeat
from .jobs import pause
from .jobs.job import Tally
from .jobs.journal import Journal, JournalError
from .launch import holds, orphans
from .launch.records import MalformedError
from .model import GpuUse
from .programs import LISTENER
from .rendered import Rendered, Service

DOWN = "DOWN"
"""In place of supervisord's word, where there is none."""
HELD = "HELD"
"""In its place too, while the launcher waits."""
NOT_ASKED = probe.Answer(ready=False)
REFUSED = "connection refused"
"""What the probe says where nobody listens."""
LAUNCHING = probe.Answer(ready=False, error=REFUSED)
"""Of one that is not ComfyUI yet, whoever answers in its place: a leftover of its last life does until it is ended."""
UNSEEN = 20.0
"""Seconds after which the health listener has something to say of a process."""
STARTING = 300.0
"""Seconds of a life in which nobody may listen yet: custom nodes are imported first, and those may be many."""
FULL = 64 * 1024
"""Bytes of free space below which a disk takes none of our files any more."""
_NEXT_START = re.compile(r"next start in \d+ s")
"""What a hold's text says of its end, as it was when the hold began."""


@dataclass(frozen=True)
class Status:
    """One instance at this moment."""

    instance: Rendered
    state: str
    """supervisord's word (RUNNING, STOPPED …), HELD while the launcher holds it back, or DOWN without supervisord."""
    text: str = ""
    """What an operator should know: why it is held, or why its API isn't ready."""
    pid: int = 0
    """The launcher's, while that holds it back: it is to become ComfyUI."""
    uptime: float = 0.0
    """Seconds since the process of that pid was started."""
    answer: probe.Answer = NOT_ASKED
    use: GpuUse | None = None
    memory: int = 0
    """Bytes of RAM, with all that it started."""
    health: ledger.Report | None = None
    """What the health listener says; None: nothing, or that was long ago."""
    watched: bool = True
    """Whether it is watched as it should be: a health listener that was rendered runs, and has looked of late."""
    hold: holds.Hold | None = None
    """What the launcher waits for."""
    left: float | None = None
    """Seconds until it goes on by itself; None: it does not, or does not wait."""
    beat: Heartbeat | None = None
    """What our extension tells within ComfyUI; None: nothing of late, or it was not asked for."""
    paused: bool = False
    """Whether an operator has ordered that no further job is begun."""
    jobs: Tally | None = None
    """Those in its journal; None: there is none, or it can't be read, or was not asked for."""
    trouble: str = ""
    """What is wrong with the journal."""
    full: bool = False
    """Whether the disk of its state folder is: what is read there may be old, and nothing is written down."""

    @property
    def lives(self) -> bool:
        """Whether the process is ComfyUI's, and not the launcher's that holds it back."""
        return bool(self.pid) and self.state != HELD

    @property
    def ready(self) -> bool:
        """Whether it takes jobs."""
        return self.answer.ready

    @property
    def starting(self) -> bool:
        """Whether it doesn't listen yet, as far as its age tells."""
        return self.state == "RUNNING" and self.answer.error == REFUSED and self.uptime < STARTING


def look(service: Service, *, with_gpu: bool = True, with_jobs: bool = True) -> tuple[Status, ...]:
    """Return the status of every instance; asks all of them at once, a few seconds at the most."""
    found = _look(service, with_gpu=with_gpu)
    return tuple(map(_with_jobs, found)) if with_jobs else found


def _look(service: Service, *, with_gpu: bool) -> tuple[Status, ...]:
    answered = rpc.Supervisor(service.url).processes()
    if isinstance(answered, rpc.Failure):
        text = presence.silence(service.socket, answered, service.conf)
        gone = presence.abandoned(service.socket)
        return tuple(Status(one, DOWN, _left_behind(one, text) if gone else text) for one in service.instances)
    processes = {process.program: process for process in answered}
    running = [one for one in service.instances if one.program in processes and processes[one.program].pid]
    launching = {one.id: LAUNCHING for one in running if vitals.launches(processes[one.program].pid)}
    answers = {**_answers(one for one in running if one.id not in launching), **launching}
    since = _listens_since(processes.get(LISTENER))
    uses = gpu.use() if with_gpu and any(one.gpu for one in running) else {}
    found = (_status(one, processes.get(one.program), answers.get(one.id), uses) for one in service.instances)
    full = _is_full(service.conf.parent)
    return tuple(replace(_with_health(each, since, service.watched), full=full) for each in found)


def _left_behind(instance: Rendered, text: str) -> str:
    """Return why nobody answers for an instance, with what is said of its processes that run all the same."""
    if kept := presence.unheard(instance.state):
        return kept
    left = orphans.find(orphans.marks(str(instance.state)))
    if not left:
        return text
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return f"{text}; {left[0]}{more} still runs, unwatched, until that or comfy-supervisor down ends it"


def _listens_since(listener: rpc.Process | None) -> float | None:
    """Return from when on what the health listener said counts, seconds since the epoch; None: it does not run."""
    if listener is None or listener.statename not in ("STARTING", "RUNNING"):
        return None
    return float(listener.start) if listener.statename == "STARTING" else 0.0


def _with_health(status: Status, since: float | None, wanted: bool) -> Status:
    """Return a status with what the listener says; a process that was just started has not been looked at yet."""
    now = time.time()
    report = None if since is None else ledger.report(status.instance.state, now)
    report = report if report and since is not None and report.at >= since else None
    if report:
        report = replace(report, maintenance=orders.maintenance(str(status.instance.state)))
    if report and status.hold:
        report = replace(report, reason=counted_down(report.reason, status.hold, now))
    return replace(status, health=report, watched=report is not None or not wanted or status.uptime <= UNSEEN)


def _is_full(folder: Path) -> bool:
    """Tell whether the disk of a folder is full; no if that can't be told."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < FULL or (disk.f_files > 0 and disk.f_favail == 0)


def _with_jobs(status: Status) -> Status:
    """Return a status with what is known of its jobs."""
    instance, jobs, trouble = status.instance, None, ""
    life = Life(vitals.boot_id(), status.pid, 0.0)
    beat = heartbeat.read(str(instance.run), life, time.monotonic()) if status.lives else None
    journal = Journal(instance.state, make=False)
    try:
        jobs = journal.tally() if journal.exists else None
    except JournalError as error:
        trouble = str(error)
    journal.close()
    if beat and beat.journal == "degraded":
        trouble = trouble or "can't be written by ComfyUI: a restart would lose the jobs in its queue"
    return replace(status, beat=beat, paused=pause.ordered(str(instance.run)), jobs=jobs, trouble=trouble)


def hold(instance: Rendered) -> holds.Hold | None:
    """Return what holds an instance back, if anything does."""
    try:
        found = holds.read(str(instance.run))
    except (OSError, MalformedError):
        return None
    return None if found and found.is_over(time.time(), 0) else found


def counted_down(text: str, hold: holds.Hold, now: float) -> str:
    """Return a text about a hold with the seconds that are left of it, in place of those that it began with."""
    if hold.until is None:
        return text
    left = f"next start in {max(0.0, hold.until - now):.0f} s"
    return _NEXT_START.sub(left, text, count=1) if _NEXT_START.search(text) else f"{text}; {left}"


def _answers(instances: Iterable[Rendered]) -> Mapping[str, probe.Answer]:
    found: dict[str, probe.Answer] = {}
    asking = [
        threading.Thread(target=lambda one=one: found.__setitem__(one.id, probe.prompt(one.url)), daemon=True)
        for one in instances
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    return found


def _status(
    instance: Rendered, process: rpc.Process | None, answer: probe.Answer | None, uses: Mapping[str, GpuUse]
) -> Status:
    if process is None:
        return Status(instance, DOWN, "supervisord doesn't know it yet; comfy-supervisor apply tells it")
    if not process.pid or answer is None:
        return Status(instance, process.statename, process.refusal)
    uptime = float(max(0, process.now - process.start))
    use = _use(instance, uses)
    held = None if answer.ready else hold(instance)
    if held:
        now = time.time()
        text = counted_down(held.text, held, now)
        left = None if held.until is None else max(0.0, held.until - now)
        return Status(instance, HELD, text, process.pid, uptime, answer, use, hold=held, left=left)
    memory = vitals.memory(process.pid)
    text = _silence(answer, uptime)
    return Status(instance, process.statename, text, process.pid, uptime, answer, use, memory)


def _silence(answer: probe.Answer, uptime: float) -> str:
    """Return why an API isn't ready, in words that fit the age of its process; empty if it is."""
    if answer.error != REFUSED:
        return answer.error
    if uptime < STARTING:
        return f"not yet listening; started {uptime:.0f} s ago"
    return f"{REFUSED}, {uptime / 60:.0f} min after its start; comfy-supervisor logs may tell why"


def _use(instance: Rendered, uses: Mapping[str, GpuUse]) -> GpuUse | None:
    """Return the use of the GPU that an instance is pinned to, by UUID or by NVML's index."""
    pinned = (use for use in uses.values() if instance.gpu and instance.gpu in (use.uuid, str(use.index)))
    return next(pinned, None)
