"""The checklist: each item measured, one after the other, on the service that runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .. import paths, programs, rpc, status
from ..errors import UserError
from ..render import reader
from ..rendered import Rendered, Service
from ..settings import Loaded, Settings
from ..status import Status
from . import backend, boot, device, generation, latency, logs, proof, recovery, vram
from .line import Line
from .workflow import Graph

PATIENCE = 600.0
"""Seconds that a test generation may take, unless said otherwise."""

Found = tuple[str, Line]
"""A program's name for supervisorctl, empty for the service as a whole, and a line on it."""


@dataclass(frozen=True)
class Wishes:
    """What is done beyond looking."""

    workflow: Graph | None = None
    """What to generate; None: nothing."""
    anyway: bool = False
    """Whether to generate though jobs run or wait."""
    patience: float = PATIENCE
    """Seconds that it may take."""
    prove: bool = False
    """Whether to kill ComfyUI."""


def examine(loaded: Loaded, service: Service, wishes: Wishes) -> Iterator[Found]:
    """Yield the checklist's lines, each as soon as it is measured; without wishes, a few seconds in all.

    Raises UserError, before anything is measured, where what is wished would disturb jobs.
    """
    rows = status.look(service)
    _refuse_to_disturb(rows, wishes)
    pid = rpc.Supervisor(service.url).pid()
    yield "", boot.judge(boot.look(pid if isinstance(pid, int) else None))
    for row in rows:
        for line in _of_instance(loaded, service, row, wishes):
            yield row.instance.program, line


def _refuse_to_disturb(rows: tuple[Status, ...], wishes: Wishes) -> None:
    disturbs = "--prove kills it" if wishes.prove else "a test generation would compete with them"
    if not wishes.prove and (wishes.workflow is None or wishes.anyway):
        return
    mend = "try again when it is idle" if wishes.prove else "try again when it is idle, or --anyway"
    busy = [f"{row.instance.program}: {_jobs(row)}, and {disturbs}; {mend}" for row in rows if row.answer.queue]
    if busy:
        raise UserError(*busy)


def _jobs(row: Status) -> str:
    count = row.answer.queue or 0
    return f"{count} job{'s run or wait' if count != 1 else ' runs or waits'}"


def _of_instance(loaded: Loaded, service: Service, row: Status, wishes: Wishes) -> Iterator[Line]:
    """Yield an instance's lines; it is killed, if that is wished, last but for the generation that follows."""
    instance, settings, now = row.instance, loaded.settings, time.time()
    section = _section(service, instance)
    found = device.look(instance.url)
    yield device.judge(found, cpu_meant=_cpu_meant(settings), standin=instance.standin)
    yield latency.judge(latency.measure(instance.url), row.answer.queue)
    yield recovery.judge(row, section, wanted=service.watched, now=now)
    others = [logs.look(file) for file in (service.log, service.health_log) if file]
    began = now - row.uptime if row.pid else 0.0
    yield logs.judge(logs.look(instance.log), others, section, started=began, now=now)
    reach = backend.look(instance, settings.comfyui.cors_origin)
    yield backend.judge(reach, instance.addresses, _addresses(settings, service, instance), runs=bool(row.pid))
    if wishes.prove:
        yield proof.prove(rpc.Supervisor(service.url), instance)
    if wishes.workflow is not None:
        watch = vram.watch(instance.url, row.use.uuid if row.use else "")
        run = generation.run(instance.url, wishes.workflow, watch, wishes.patience)
        yield generation.judge(run, on_cpu=found.type == "cpu")


def _section(service: Service, instance: Rendered) -> Mapping[str, str]:
    """Return an instance's section of the configuration that the running supervisord has taken over."""
    applied = service.conf.with_name(paths.APPLIED)
    sections = reader.sections(applied if applied.exists() else service.conf)
    return sections.get(f"program:{instance.program.rpartition(':')[2]}", {})


def _addresses(settings: Settings, service: Service, instance: Rendered) -> list[str]:
    """Return where the settings want an instance to listen; the ports of several are theirs to remember."""
    port = settings.comfyui.port if len(service.instances) == 1 else instance.port
    return programs.addresses(settings.comfyui.listen, port).split(",")


def _cpu_meant(settings: Settings) -> bool:
    return settings.gpu.devices == "cpu" or "--cpu" in settings.comfyui.extra_args
