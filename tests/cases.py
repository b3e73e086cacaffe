"""Values that several rooms' tests build on: cards, releases, settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from comfy_supervisor.comfyui import releases
from comfy_supervisor.flags import Case, Folders
from comfy_supervisor.model import Driver, Gpu, GpuReport, GpuState, Instance
from comfy_supervisor.settings import Settings

CARDS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "gpus.json").read_text())["cards"]
"""Cards by name, with the memory that NVML reports and the tier that is wanted."""


def gpu(index: int = 0, mib: int = 24564, uuid: str = "", pci: str = "", **more: Any) -> Gpu:
    """Return a healthy GPU; its UUID and PCI address follow from its index unless given."""
    uuid = uuid or f"GPU-{index:08d}-0000-0000-0000-000000000000"
    return Gpu(
        index, uuid, more.pop("name", "NVIDIA GeForce RTX 4090"), mib, pci or f"00000000:{index + 1:02X}:00.0", **more
    )


def lost(device: Gpu) -> Gpu:
    """Return the same GPU, fallen off the bus."""
    return Gpu(device.index, "", "", 0, device.pci, GpuState.LOST, "has fallen off the bus")


def report(*gpus: Gpu) -> GpuReport:
    """Return what a machine with a working driver and these GPUs reports."""
    return GpuReport(Driver.OK, driver_version="550.54.15", cuda_version="12.4", gpus=gpus)


def settings(**tables: dict[str, Any]) -> Settings:
    """Return settings with some keys set."""
    return Settings.model_validate(tables)


def case(device: Gpu | None, release: str = "0.3.64", folders: Folders | None = None, **tables: dict[str, Any]) -> Case:
    """Return what the flags are chosen from."""
    instance = Instance("gpu0" if device else "cpu", device, 8188, grouped=folders is not None)
    return Case(instance, settings(**tables), releases.known()[release], folders)
