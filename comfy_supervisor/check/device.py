"""What ComfyUI computes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..bounded import Client
from .ask import ask
from .line import Line, fails, holds

ITEM = "cuda"
MIB = 1024 * 1024


@dataclass(frozen=True)
class Device:
    """The first device that ``/system_stats`` names: the one that ComfyUI computes on."""

    type: str = ""
    """``cuda`` (also where that is AMD's), ``cpu``, ``mps`` …; empty: it does not say."""
    name: str = ""
    vram_mib: int = 0
    torch: str = ""
    """torch's version, which names its CUDA: ``2.5.1+cu124``."""
    trouble: str = ""


def look(url: str) -> Device:
    """Ask ComfyUI."""
    client = Client(url)
    answer = ask(client, "/system_stats")
    client.close()
    return Device(trouble=answer.trouble) if answer.trouble else understood(answer.value)


def understood(stats: Any) -> Device:
    """Return the device that an answer names."""
    try:
        first, system = stats["devices"][0], stats["system"]
        vram = int(first.get("vram_total") or 0) // MIB
        return Device(str(first["type"]), str(first.get("name", "")), vram, str(system.get("pytorch_version", "")))
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
        return Device(trouble="its /system_stats names no device")


def judge(found: Device, *, cpu_meant: bool, standin: bool) -> Line:
    """Say whether it computes on CUDA, or on the CPU where the settings say so."""
    figures = {"type": found.type, "name": found.name, "torch": found.torch, "standin": standin}
    if found.trouble:
        return fails(ITEM, found.trouble, "comfy-supervisor status, logs", figures=figures)
    note = "; the stand-in, not ComfyUI: it generates no images" if standin else ""
    if cpu_meant and found.type == "cpu":
        return holds(ITEM, f'computes on the CPU, as gpu.devices = "cpu" says{note}', figures=figures)
    if standin:
        mend = "set comfyui.directory, then comfy-supervisor apply"
        return fails(ITEM, "the stand-in runs, not ComfyUI: it generates no images", mend, figures=figures)
    if found.type == "cuda":
        return holds(ITEM, f"{found.name}, {found.vram_mib} MiB, torch {found.torch}", figures=figures)
    mend = 'comfy-supervisor doctor says why; gpu.devices = "cpu" if that is meant'
    return fails(ITEM, f"computes on {found.type}, not on CUDA", mend, figures=figures)
