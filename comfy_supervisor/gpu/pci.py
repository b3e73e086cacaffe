"""NVIDIA hardware as the PCI bus shows it, whatever the driver says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ENVIRONMENT = "COMFY_SUPERVISOR_PCI_DEVICES"
THIS_MACHINES = Path("/sys/bus/pci/devices")
_NVIDIA = "0x10de"
_DISPLAY = "0x03"
"""The class of VGA (0x0300) and 3D (0x0302) controllers; not of a GPU's audio function, nor of NVSwitches."""


def devices_folder() -> Path:
    """Return the folder with an entry for each PCI device: /sys/bus/pci/devices.

    The environment's COMFY_SUPERVISOR_PCI_DEVICES names another, for tests and for odd machines.
    """
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else THIS_MACHINES


def nvidia_gpus(devices: Path) -> tuple[str, ...]:
    """Return the bus ids of NVIDIA's GPUs in order, written as NVML does, ``00000000:01:00.0``.

    Empty where there is no PCI bus, as on Jetson and WSL 2.
    """
    return tuple(sorted(_nvidia_gpus(devices)))


def _nvidia_gpus(devices: Path) -> Iterator[str]:
    try:
        entries = list(devices.iterdir())
    except OSError:
        return
    for device in entries:
        if _attribute(device, "vendor") == _NVIDIA and _attribute(device, "class").startswith(_DISPLAY):
            domain, _, place = device.name.partition(":")
            yield f"{domain:0>8}:{place}".upper()


def _attribute(device: Path, name: str) -> str:
    """Return one attribute of a PCI device; empty if it has gone meanwhile."""
    try:
        return (device / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
