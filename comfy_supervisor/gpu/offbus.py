"""NVIDIA hardware that no PCI bus shows: in WSL 2, and in Tegras such as Jetson's."""

from __future__ import annotations

from pathlib import Path

_WSL = (
    "this is WSL 2, which may use a GPU of Windows' (/dev/dxg), but NVML knows of none: install NVIDIA's driver in "
    "Windows, none in here, then: wsl --shutdown"
)
_TEGRA = (
    "this is an NVIDIA Tegra (Jetson), with a GPU that is not on the PCI bus, but NVML knows of none: install a "
    "release of JetPack that has libnvidia-ml.so.1; in a container, start it with --runtime nvidia"
)


def trouble(root: Path) -> str:
    """Return what to say where there may be a GPU and NVML shows none; empty where there is none beside the PCI bus's.

    ``root`` is the folder with dev and proc. /dev/dxg is Linux' drivers/hv/dxgkrnl, also there for others' GPUs;
    /dev/nvhost-* are those of NVIDIA's drivers for Tegra, whose boards call themselves nvidia,tegra….
    """
    if (root / "dev" / "dxg").exists():
        return _WSL
    return _TEGRA if any((root / "dev").glob("nvhost*")) or _is_tegra(root) else ""


def _is_tegra(root: Path) -> bool:
    try:
        return b"nvidia,tegra" in (root / "proc" / "device-tree" / "compatible").read_bytes()
    except OSError:
        return False
