"""``comfy-supervisor gpus``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from .. import flags, gpu, machine, paths, plan
from ..comfyui import releases
from ..errors import UserError
from ..model import Driver, Gpu, GpuReport, GpuState, Installation, Instance, Invocation
from ..programs import Site
from ..settings import Loaded
from .common import print_json, warn, with_json, with_settings


@click.command("gpus")
@with_json
@with_settings
def command(loaded: Loaded, as_json: bool) -> int:
    """Flags are those that a GPU would get alone, with these settings and the installed ComfyUI.

    Exit code 1 if the driver is in trouble or a GPU can't be used.
    """
    report = gpu.detect()
    shared = _site(loaded, report)
    chosen = {device: _invocation(device, shared) for device in report.gpus}
    if as_json:
        print_json([_row(device, invocation) for device, invocation in chosen.items()])
    else:
        click.echo("\n".join(_text(report, chosen)))
    trouble = report.driver not in (Driver.OK, Driver.NO_HARDWARE)
    if trouble:
        warn(report.text)
    return int(trouble or len(report.usable) < len(report.gpus))


def _site(loaded: Loaded, report: GpuReport) -> Site:
    """Return what the flags are chosen by; without a ComfyUI, those of the newest release that we know."""
    here = machine.look()
    try:
        found = plan.installed(loaded)
        facts = plan.Facts(here, report, found, plan.accepted(loaded, found))
    except UserError as error:
        newest = releases.nearest(loaded.settings.comfyui.version)
        warn(f"{error}; the flags are for ComfyUI {newest.version}")
        facts = plan.Facts(here, report, Installation(Path("/"), Path("/"), newest.version), newest)
    return plan.site_of(loaded, facts, paths.choose(loaded, here))


def _invocation(device: Gpu, shared: Site) -> Invocation | None:
    if device.state is not GpuState.OK:
        return None
    return flags.choose(plan.case(Instance(f"gpu{device.index}", device, shared.settings.comfyui.port), shared))


def _row(device: Gpu, chosen: Invocation | None) -> dict[str, Any]:
    return {
        "index": device.index,
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
        "state": device.state.value,
        "problem": device.problem,
    }


def _text(report: GpuReport, chosen: dict[Gpu, Invocation | None]) -> Iterator[str]:
    if report.driver is Driver.OK:
        yield f"NVIDIA driver {report.driver_version}, CUDA up to {report.cuda_version}"
    elif report.driver is Driver.NO_HARDWARE:
        yield "No NVIDIA GPU in this machine: ComfyUI runs on the CPU, with --cpu."
    for device, invocation in chosen.items():
        size = f"{device.memory_mib} MiB ({device.nominal_gb} GB)"
        title = f"GPU {device.index}  {device.name}  {size}  {invocation.tier if invocation else device.state.value}"
        yield f"\n{click.style(title, bold=True)}\n  {device.uuid}"
        if device.problem:
            yield f"  {device.problem}"
        if invocation:
            yield from _choice(invocation)


def _choice(invocation: Invocation) -> Iterator[str]:
    for flag in invocation.flags:
        yield f"  {' '.join(flag.argv):<28} {flag.reason}"
    for flag in invocation.left_out:
        yield f"  {'not ' + ' '.join(flag.argv):<28} {flag.reason}"
    for note in invocation.notes:
        yield f"  note: {note}"
