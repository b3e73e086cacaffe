"""``comfy-supervisor gpus``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from .. import flags, gpu, instances, machine, paths, plan
from ..comfyui import releases
from ..errors import UserError
from ..model import Driver, Gpu, GpuReport, GpuState, Installation, Instance, Invocation
from ..settings import Loaded
from .common import print_json, warn, with_json, with_settings


@dataclass(frozen=True)
class Use:
    """What a GPU is to ComfyUI, and the flags that it gets, or would get."""

    instance: Instance | None
    """None: the GPU is not used."""
    invocation: Invocation


OPTION = 28
"""Characters that an option has room for."""


@click.command("gpus")
@with_json
@with_settings
def command(loaded: Loaded, as_json: bool) -> int:
    """A GPU that is used has the flags that are rendered for it, another one those that it would get alone.

    Exit code 1 if the driver is in trouble, a GPU can't be used or has vanished, or none of those that are meant.
    """
    report = gpu.detect()
    loaded, facts = _facts(loaded, report)
    chosen, trouble = _chosen(loaded, facts)
    uses = {device: _use(device, loaded, facts, chosen) for device in report.gpus if device.state is GpuState.OK}
    shown = (*report.gpus, *_vanished(loaded, facts))
    if as_json:
        print_json([_row(device, uses.get(device)) for device in shown])
    else:
        click.echo("\n".join(_text(loaded, report, shown, uses)))
    if trouble:
        warn(trouble)
    return int(bool(trouble) or len(report.usable) < len(shown))


def _facts(loaded: Loaded, report: GpuReport) -> tuple[Loaded, plan.Facts]:
    """Return what the flags are chosen by; without a ComfyUI, as for one of the newest release that we know."""
    here = machine.look()
    try:
        found = plan.installed(loaded)
        return loaded, plan.Facts(here, report, found, plan.accepted(loaded, found))
    except UserError as error:
        newest = releases.nearest(loaded.settings.comfyui.version)
        warn(f"{error}; the flags are for ComfyUI {newest.version}")
        elsewhere = loaded.settings.comfyui.model_copy(update={"version": newest.version})
        settings = loaded.settings.model_copy(update={"comfyui": elsewhere})
        nowhere = Installation(Path("/"), Path("/"), newest.version)
        return replace(loaded, settings=settings), plan.Facts(here, report, nowhere, newest)


def _chosen(loaded: Loaded, facts: plan.Facts) -> tuple[Mapping[Gpu, Use], str]:
    """Return the GPUs that are used, and why none is if that is a trouble."""
    if facts.report.driver not in (Driver.OK, Driver.NO_HARDWARE):
        return {}, facts.report.text
    try:
        made = plan.compose(loaded, facts)
    except UserError as error:
        return {}, str(error)
    pairs = zip(made.instances, made.invocations, strict=True)
    return {one.gpu: Use(one, invocation) for one, invocation in pairs if one.gpu}, ""


def _vanished(loaded: Loaded, facts: plan.Facts) -> tuple[Gpu, ...]:
    """Return the GPUs that ComfyUI had, and that the driver lists no longer."""
    try:
        memory = plan.recalled(paths.choose(loaded, facts.machine))
    except UserError:  # told as the trouble already
        return ()
    return tuple(instances.absent(gone, facts.report) for gone in instances.vanished(facts.report, memory))


def _use(device: Gpu, loaded: Loaded, facts: plan.Facts, chosen: Mapping[Gpu, Use]) -> Use:
    if device in chosen:
        return chosen[device]
    alone = Instance(f"gpu{device.index}", device, loaded.settings.comfyui.port)
    shared = plan.site_of(loaded, facts, paths.choose(loaded, facts.machine))
    return Use(None, flags.choose(plan.case(alone, shared)))


def _row(device: Gpu, use: Use | None) -> dict[str, Any]:
    chosen = use.invocation if use else None
    return {
        "index": None if device.index == instances.NOWHERE else device.index,
        "uuid": device.uuid,
        "name": device.name,
        "memory_mib": device.memory_mib,
        "nominal_gb": device.nominal_gb,
        "tier": chosen.tier if chosen else None,
        "flags": list(chosen.argv) if chosen else [],
        "reasons": {flag.option: flag.reason for flag in chosen.flags} if chosen else {},
        "left_out": {flag.option: flag.reason for flag in chosen.left_out} if chosen else {},
        "environment": dict(chosen.environment) if chosen else {},
        "notes": list(chosen.notes) if chosen else [],
        "program": use.instance.program if use and use.instance else None,
        "state": device.state.value,
        "problem": device.problem,
    }


def _text(loaded: Loaded, report: GpuReport, shown: Sequence[Gpu], uses: Mapping[Gpu, Use]) -> Iterator[str]:
    if report.driver is Driver.OK:
        yield f"NVIDIA driver {report.driver_version}, CUDA up to {report.cuda_version}"
    elif report.driver is Driver.NO_HARDWARE:
        yield "No NVIDIA GPU in this machine: ComfyUI runs on the CPU, with --cpu."
    if report.gpus and loaded.settings.gpu.devices == instances.CPU:
        yield 'No GPU is used: gpu.devices = "cpu" has ComfyUI run on the CPU, with --cpu.'
    for device in shown:
        use = uses.get(device)
        size = f"{device.memory_mib} MiB ({device.nominal_gb} GB)"
        which = "GPU, vanished" if device.index == instances.NOWHERE else f"GPU {device.index}  {device.name}  {size}"
        title = f"{which}  {_title(use) if use else device.state.value}"
        yield f"\n{click.style(title, bold=True)}\n  {device.uuid}"
        if device.problem:
            yield f"  {device.problem}"
        if use:
            yield from _choice(use.invocation)


def _title(use: Use) -> str:
    program = use.instance.program if use.instance else "not used; it would get:"
    return f"{use.invocation.tier}  {program}"


def _with_reason(option: str, reason: str) -> Iterator[str]:
    """Yield an option with its reason beside it, or below where it is too long; reasons stand in one column."""
    if len(option) > OPTION:
        yield f"  {option}"
        option = ""
    yield f"  {option:<{OPTION}} {reason}"


def _choice(invocation: Invocation) -> Iterator[str]:
    for flag in invocation.flags:
        yield from _with_reason(" ".join(flag.argv), flag.reason)
    for flag in invocation.left_out:
        yield from _with_reason(f"not {' '.join(flag.argv)}", flag.reason)
    for note in invocation.notes:
        yield f"  note: {note}"
