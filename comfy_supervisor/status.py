"""What runs: supervisord's word, the launcher's hold, the API's answer and the GPU's memory, put together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from . import gpu, presence, rpc
from .health import probe, vitals
from .launch import holds
from .launch.records import MalformedError
from .model import GpuUse
from .rendered import Rendered, Service

DOWN = "DOWN"
"""In place of supervisord's word, where there is none."""
NOT_ASKED = probe.Answer(ready=False)


@dataclass(frozen=True)
class Status:
    """One instance at this moment."""

    instance: Rendered
    state: str
    """supervisord's word (RUNNING, STOPPED …), HELD while the launcher holds it back, or DOWN without supervisord."""
    text: str = ""
    """What an operator should know: why it is held, or why its API isn't ready."""
    pid: int = 0
    uptime: float = 0.0
    """Seconds."""
    answer: probe.Answer = NOT_ASKED
    use: GpuUse | None = None
    memory: int = 0
    """Bytes of RAM, with all that it started."""

    @property
    def ready(self) -> bool:
        """Whether it takes jobs."""
        return self.answer.ready


def look(service: Service, *, with_gpu: bool = True) -> tuple[Status, ...]:
    """Return the status of every instance; asks all of them at once, a few seconds at the most."""
    answered = rpc.Supervisor(service.url).processes()
    if isinstance(answered, rpc.Failure):
        text = presence.silence(service.socket, answered)
        return tuple(Status(one, DOWN, text) for one in service.instances)
    processes = {process.program: process for process in answered}
    running = [one for one in service.instances if one.program in processes and processes[one.program].pid]
    answers = _answers(running)
    uses = gpu.use() if with_gpu and any(one.gpu for one in running) else {}
    return tuple(_status(one, processes.get(one.program), answers.get(one.id), uses) for one in service.instances)


def hold(instance: Rendered) -> holds.Hold | None:
    """Return what holds an instance back, if anything does."""
    try:
        found = holds.read(str(instance.run))
    except (OSError, MalformedError):
        return None
    return None if found and found.is_over(time.time(), 0) else found


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
        return Status(instance, process.statename, process.spawnerr)
    uptime = float(max(0, process.now - process.start))
    held = None if answer.ready else hold(instance)
    state, text = ("HELD", held.text) if held else (process.statename, answer.error)
    memory = vitals.memory(process.pid)
    return Status(instance, state, text, process.pid, uptime, answer, _use(instance, uses), memory)


def _use(instance: Rendered, uses: Mapping[str, GpuUse]) -> GpuUse | None:
    """Return the use of the GPU that an instance is pinned to, by UUID or by NVML's index."""
    pinned = (use for use in uses.values() if instance.gpu and instance.gpu in (use.uuid, str(use.index)))
    return next(pinned, None)
