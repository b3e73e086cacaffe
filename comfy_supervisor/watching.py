"""From settings and instances to what the health listener watches, and by which rules: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from . import programs
from .health import watched
from .health.policy.rules import Rules
from .health.watched import Watched
from .model import Instance, Invocation
from .programs import Site
from .settings import Settings

FAST: Mapping[str, float] = {
    "probe_every": 2.5,
    "suspect_every": 0.5,
    "deadline": 2.5,
    "quiet": 8.0,
    "frozen": 5.0,
    "stall_after": 30.0,
}
"""The preset for jobs of a few seconds; what the settings file says itself wins."""
NAMED_INTERRUPT = (0, 3, 57)
"""The release from which on ``POST /interrupt`` can name a job; earlier ones interrupt whatever runs."""


def text(site: Site, chosen: Iterable[tuple[Instance, Invocation]], version: str) -> str:
    """Return the listener's file for the chosen instances of a ComfyUI release."""
    return watched.text(_watched(instance, invocation, site, version) for instance, invocation in chosen)


def rules(settings: Settings) -> Rules:
    """Return the numbers that the settings mean, the preset's where they are silent."""
    health, stall, restart = settings.health, settings.stall, settings.restart
    preset = FAST if health.preset == "fast" else {}
    given = {_of_stall(key): value for key, value in _numbers(stall).items()} | _numbers(health) | _numbers(restart)
    explicit = {*health.model_fields_set, *map(_of_stall, stall.model_fields_set)}
    known = {key: value for key, value in given.items() if key in Rules.__dataclass_fields__}
    chosen = {key: value for key, value in preset.items() if key not in explicit}
    return Rules(**{**known, **chosen, "gpu_require": settings.gpu.require})


def _of_stall(key: str) -> str:
    return key if key in Rules.__dataclass_fields__ else f"stall_{key}"


def _numbers(section: Any) -> dict[str, Any]:
    return {key: int(value) if isinstance(value, int) else value for key, value in section.model_dump().items()}


def _watched(instance: Instance, invocation: Invocation, site: Site, version: str) -> Watched:
    settings = site.settings
    listens = programs.addresses(settings.comfyui.listen, instance.port)
    own = {
        "gpu_meant": instance.gpu is not None and "--cpu" not in invocation.argv,
        "interrupts": _parts(version) >= NAMED_INTERRUPT,
    }
    return Watched(
        program=instance.program,
        id=instance.id,
        url=programs.url(listens.split(","), invocation.argv),
        port=instance.port,
        state=str(site.paths.instance_state(instance.id)),
        run=str(site.paths.instance_run(instance.id)),
        log=str(programs.log(instance, site)),
        gpu=instance.gpu.uuid if instance.gpu else "",
        stop_seconds=float(settings.restart.stop_seconds),
        patient_nodes=settings.stall.patient_nodes,
        rules=replace(rules(settings), **own),
        extension=str(site.paths.extension) in invocation.argv,
        replay=settings.jobs.replay,
        max_age=settings.jobs.max_age,
        history=settings.jobs.history,
        incidents_keep=settings.incidents.keep,
        incidents_size=int(settings.incidents.max_size),
    )


def _parts(version: str) -> tuple[int, ...]:
    """Return ``0.3.64`` as numbers; an unknown release counts as an old one."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
