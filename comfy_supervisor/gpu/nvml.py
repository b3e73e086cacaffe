"""The helper process that asks NVML: the one place that imports pynvml.

It is run by its path, prints one JSON object and ends: a driver that hangs or crashes takes no other process
along. It imports nothing of this package, so that its start costs little more than Python's own and pynvml's.
What ``nvml_watch.py`` needs of it has no underscore.

The object is ``{"error": [code, text]}`` if NVML as a whole fails; else, for ``detect``,
``{driver_version, cuda_version, errors, gpus: [{index, uuid, name, memory_mib, pci, mig, errors}]}``, and for
``use``, ``{gpus: [{uuid, memory_used_mib, memory_total_mib, utilization_percent, errors}]}``. A field that can't
be read is left out and named in ``errors``, ``{field: [code, text]}``; ``handle`` stands for the whole GPU.
Codes are those of nvml.h. ``mig`` is ``off``, ``instance`` (a GPU in MIG mode gives a row for each) or ``empty``
(it has none, and gives a row of its own).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from types import ModuleType

Row = dict[str, object]
MIB = 1024 * 1024


def main() -> None:
    """Answer the question that is the first argument, ``detect`` or ``use``, on standard output.

    The second one is after how many seconds the kernel is to end this process: nobody waits for it by then.
    """
    signal.alarm(int(sys.argv[2]))
    # A driver's library may print (the CUDA toolkit's stub does): the real stdout is kept for the answer alone.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)
        json.dump(_ask(sys.argv[1]), answer)
    # No nvmlShutdown and no destructors of the driver's library: they too can hang or crash.
    os._exit(0)


def _ask(question: str) -> Row:
    """Return the answer to ``detect`` or ``use``, or NVML's error."""
    nvml = library()
    questions = {"detect": _detect, "use": _use}
    try:
        nvml.nvmlInit()
        return questions[question](nvml)
    except nvml.NVMLError as error:
        return {"error": [error.value, str(error)]}


def library() -> ModuleType:
    """Return pynvml, which loads NVIDIA's library when it is first used."""
    import pynvml  # noqa: PLC0415  (its 8000 lines are for this process alone)

    module: ModuleType = pynvml
    return module


def _detect(nvml: ModuleType) -> Row:
    """Return what the machine has."""
    count = nvml.nvmlDeviceGetCount()
    system = read(
        nvml,
        driver_version=lambda: text(nvml.nvmlSystemGetDriverVersion()),
        cuda_version=lambda: _release(nvml.nvmlSystemGetCudaDriverVersion_v2()),
    )
    return {**system, "gpus": [row for index in range(count) for row in gpu_rows(nvml, index, _device)]}


def gpu_rows(nvml: ModuleType, index: int, describe: Callable[[ModuleType, object, object], Row]) -> list[Row]:
    """Return one GPU as a row, or, in MIG mode, a row for each of its instances.

    ``describe`` is given the GPU, and the device: the GPU itself or the instance.
    """
    try:
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        return [{"index": index, "mig": "off", "errors": {"handle": [error.value, str(error)]}}]
    instances = mig_instances(nvml, gpu)
    if instances:
        return [{"index": index, "mig": "instance", **describe(nvml, gpu, instance)} for instance in instances]
    mig = "off" if instances is None else "empty"
    return [{"index": index, "mig": mig, **describe(nvml, gpu, gpu)}]


def _device(nvml: ModuleType, gpu: object, device: object) -> Row:
    """Return what is known of a device: the GPU itself, or a MIG instance of it."""
    return read(
        nvml,
        uuid=lambda: text(nvml.nvmlDeviceGetUUID(device)),
        name=lambda: text(nvml.nvmlDeviceGetName(device)),
        memory_mib=lambda: _memory(nvml, device)[0],
        pci=lambda: text(nvml.nvmlDeviceGetPciInfo(gpu).busId),
    )


def _use(nvml: ModuleType) -> Row:
    """Return what each GPU and MIG instance is doing; those that can't be reached are left out."""
    devices: list[tuple[object, int | None]] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        gpu = attempt(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
        if gpu is not None:
            instances = mig_instances(nvml, gpu)
            devices += [(gpu, index)] if instances is None else [(instance, None) for instance in instances]
    return {"gpus": [{**_device_use(nvml, device), "index": index} for device, index in devices]}


def _device_use(nvml: ModuleType, device: object) -> Row:
    return read(
        nvml,
        uuid=lambda: text(nvml.nvmlDeviceGetUUID(device)),
        memory_total_mib=lambda: _memory(nvml, device)[0],
        memory_used_mib=lambda: _memory(nvml, device)[1],
        utilization_percent=lambda: nvml.nvmlDeviceGetUtilizationRates(device).gpu,
    )


def mig_instances(nvml: ModuleType, gpu: object) -> list[object] | None:
    """Return the handles of a GPU's MIG instances; None where MIG is off or the GPU doesn't know it."""
    try:
        if nvml.nvmlDeviceGetMigMode(gpu)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        slots = nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)
    except nvml.NVMLError:
        return None
    # Slots need not be filled from the first on, and an empty one is an error to NVML.
    found = [attempt(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, slot) for slot in range(slots)]
    return [instance for instance in found if instance is not None]


def _memory(nvml: ModuleType, device: object) -> tuple[int, int]:
    """Return a device's total and used memory in MiB; used includes the driver's own share.

    A GPU that shares the machine's memory (GB10, Jetson) has none of its own: NVML says "not supported" or 0.
    The machine's memory is what CUDA can allocate there, so that is the answer.
    """
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(device)
    except nvml.NVMLError_NotSupported:
        return _system_memory()
    return (memory.total // MIB, memory.used // MIB) if memory.total else _system_memory()


def _system_memory() -> tuple[int, int]:
    """Return the machine's total and used memory in MiB."""
    with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123  (pathlib is a slow import)
        kib = {name: int(figure.split()[0]) for name, _, figure in (line.partition(":") for line in lines)}
    return kib["MemTotal"] // 1024, (kib["MemTotal"] - kib["MemAvailable"]) // 1024


def read(nvml: ModuleType, **readers: Callable[[], object]) -> Row:
    """Read each field by itself: one that fails costs no other."""
    row: Row = {}
    errors: Row = {}
    for field, reader in readers.items():
        try:
            row[field] = reader()
        except (nvml.NVMLError, ValueError) as error:  # ValueError: a name that is no UTF-8
            errors[field] = [getattr(error, "value", nvml.NVML_ERROR_UNKNOWN), str(error)]
    return {**row, "errors": errors}


def attempt(nvml: ModuleType, function: Callable[..., object], *arguments: object) -> object | None:
    """Return what an NVML function returns, None if it fails."""
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None


def text(value: str | bytes) -> str:
    """Return NVML's text: some releases of pynvml give bytes, some text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _release(cuda: int) -> str:
    """Return NVML's 12040 as ``12.4``."""
    return f"{cuda // 1000}.{cuda % 1000 // 10}"


if __name__ == "__main__":
    main()
