"""What NVML's answer and the PCI bus together say of a machine: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..model import Driver, Gpu, GpuReport, GpuState, GpuUse

# Error codes of nvml.h.
_NO_PERMISSION = 4
_NOT_FOUND = 6
_INSUFFICIENT_POWER = 8
_DRIVER_NOT_LOADED = 9
_IRQ_ISSUE = 11
_LIBRARY_NOT_FOUND = 12
_GPU_IS_LOST = 15
_RESET_REQUIRED = 16
_LIB_RM_VERSION_MISMATCH = 18
_GPU_NOT_FOUND = 28
_UNKNOWN = 999

_CONTAINER = "in a container, start it with the GPU passed in (docker run --gpus all)"
_NO_HARDWARE = "no NVIDIA GPU on the PCI bus, and none that NVML knows: ComfyUI can only run on the CPU here"
_NO_GPU_AT_ALL = (
    "the driver works but shows no GPU, though the PCI bus has one: look for NVRM lines in dmesg, whether the GPU "
    f"is too old or too new for this driver, or given to a virtual machine; {_CONTAINER}"
)

_ABSENT = frozenset({_NOT_FOUND, _DRIVER_NOT_LOADED, _LIBRARY_NOT_FOUND, _GPU_NOT_FOUND})
"""Errors that are no trouble on a machine without NVIDIA hardware."""

_DRIVERS: Mapping[int, tuple[Driver, str]] = {
    _LIBRARY_NOT_FOUND: (
        Driver.NO_LIBRARY,
        "there is an NVIDIA GPU, but libnvidia-ml.so.1 can't be loaded: install NVIDIA's driver; " + _CONTAINER,
    ),
    _DRIVER_NOT_LOADED: (
        Driver.NOT_LOADED,
        "there is an NVIDIA GPU, but its kernel module isn't loaded: try `modprobe nvidia`, and reinstall the "
        "driver if that fails (a new kernel needs the module built anew); " + _CONTAINER,
    ),
    _LIB_RM_VERSION_MISMATCH: (
        Driver.MISMATCH,
        "NVIDIA's library and kernel module are of different versions (the driver was updated): reboot, or end "
        "all that uses the GPUs and reload the module; a container must be started anew",
    ),
    _NO_PERMISSION: (
        Driver.NO_PERMISSION,
        "this user may not use the NVIDIA driver: give it read and write access to /dev/nvidia*; " + _CONTAINER,
    ),
    _UNKNOWN: (
        Driver.BROKEN,
        "NVML fails with an unknown error: look for NVRM lines in dmesg, and reboot; in a container, start it "
        "anew (a systemd reload on its host can take the GPUs away)",
    ),
}

_LOST: Mapping[int, str] = {
    _GPU_IS_LOST: "it has fallen off the bus; look for Xid lines in dmesg, reboot, and check its seat and power",
    _RESET_REQUIRED: "it must be reset before it works again: `nvidia-smi --gpu-reset`, or reboot",
    _INSUFFICIENT_POWER: "its power cables aren't (all) plugged in",
    _IRQ_ISSUE: "the kernel has trouble with its interrupts: look for NVRM lines in dmesg, and reboot",
}
_HANDLE_UNKNOWN = (
    "it gives no handle (Unknown Error): mostly it has fallen off the bus; look for Xid lines in dmesg, reboot"
)
_NO_MIG_INSTANCE = "it is in MIG mode without an instance: create one (nvidia-smi mig -cgi … -C), or switch MIG off"

_NEEDED = {"handle": "handle", "uuid": "UUID", "memory_mib": "memory size"}
"""The fields without which a GPU can't be told apart, or no flags can be chosen for it."""


def report(answer: Mapping[str, Any], hardware: Sequence[str]) -> GpuReport:
    """Return what the helper's ``detect`` and the bus ids on the PCI bus say of this machine.

    NVML's word wins: WSL 2 has GPUs and no PCI device of theirs.
    """
    if "error" in answer:
        code, text = answer["error"]
        return GpuReport(*failure(code, text, hardware))
    gpus = tuple(_gpu(row) for row in answer["gpus"])
    driver, text = Driver.OK, ""
    if not gpus:
        driver, text = (Driver.BROKEN, _NO_GPU_AT_ALL) if hardware else (Driver.NO_HARDWARE, _NO_HARDWARE)
    versions = answer.get("driver_version", ""), answer.get("cuda_version", "")
    return GpuReport(driver, text, *versions, gpus=_locate(gpus, hardware))


def uses(answer: Mapping[str, Any]) -> dict[str, GpuUse]:
    """Return what the helper's ``use`` says, by UUID; GPUs that can't be read are left out."""
    rows = (row for row in answer.get("gpus", []) if {"uuid", "memory_used_mib", "memory_total_mib"} <= row.keys())
    return {row["uuid"]: _use(row) for row in rows}


def _use(row: Mapping[str, Any]) -> GpuUse:
    return GpuUse(
        uuid=row["uuid"],
        memory_used_mib=row["memory_used_mib"],
        memory_total_mib=row["memory_total_mib"],
        utilization_percent=row.get("utilization_percent"),
        index=row.get("index"),
    )


def failure(code: int, text: str, hardware: Sequence[str]) -> tuple[Driver, str]:
    """Return what an error of NVML as a whole means."""
    if code in _ABSENT and not hardware:
        return Driver.NO_HARDWARE, _NO_HARDWARE
    return _DRIVERS.get(code, (Driver.BROKEN, f"NVML fails: {text}; see whether nvidia-smi works"))


def _gpu(row: Mapping[str, Any]) -> Gpu:
    """Return one GPU or MIG instance of the answer."""
    state, problem = state_of(row["mig"], row["errors"])
    return Gpu(
        index=row["index"],
        uuid=row.get("uuid", ""),
        name=row.get("name", ""),
        memory_mib=row.get("memory_mib", 0),
        pci=row.get("pci", ""),
        state=state,
        problem=problem,
        mig=row["mig"] == "instance",
    )


def state_of(mig: str, errors: Mapping[str, tuple[int, str]]) -> tuple[GpuState, str]:
    """Return whether a GPU with these errors can be used, and if not, why."""
    for code, _ in errors.values():
        if code in _LOST:
            return GpuState.LOST, _LOST[code]
    if "handle" in errors and errors["handle"][0] == _UNKNOWN:
        return GpuState.LOST, _HANDLE_UNKNOWN
    if mig == "empty":
        return GpuState.UNREADABLE, _NO_MIG_INSTANCE
    for field, name in _NEEDED.items():
        if field in errors:
            return GpuState.UNREADABLE, f"NVML can't read its {name}: {errors[field][1]}"
    return GpuState.OK, ""


def _locate(gpus: tuple[Gpu, ...], hardware: Sequence[str]) -> tuple[Gpu, ...]:
    """Give GPUs that are too lost to tell their bus ids those that the PCI bus has left over.

    Both are in the bus's order. If the numbers differ (a container sees the whole bus, not all GPUs), no guess.
    """
    known = {gpu.pci.upper() for gpu in gpus}
    left = iter([bus_id for bus_id in hardware if bus_id not in known])
    if len({gpu.index for gpu in gpus}) != len(hardware):
        return gpus
    return tuple(gpu if gpu.pci else replace(gpu, pci=next(left, "")) for gpu in gpus)
