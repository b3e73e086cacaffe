"""Which GPUs are used, and the id and port of the instance on each: pure, and faithful to what was before.

An instance is its GPU's UUID; its id and port are remembered and never renumbered, so that a GPU lost, swapped or
added moves nobody else's name, port or journal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from .errors import UserError
from .model import Driver, Gpu, GpuReport, GpuState, Instance
from .settings import Settings
from .settings.schema import MAX_PORT

VERSION = 1
CPU = "cpu"
NOWHERE = -1
"""The index of a GPU that is not there any more."""


@dataclass(frozen=True)
class Record:
    """What is remembered of one instance."""

    id: str
    uuid: str
    pci: str
    port: int
    device: str = ""
    """The element of ``gpu.devices`` that means it; empty for "auto" and "all", and where none does any more."""


@dataclass(frozen=True)
class Memory:
    """What is remembered from one render to the next: instances.json."""

    records: tuple[Record, ...] = ()
    devices: Any = None
    """``gpu.devices`` as it was."""
    base_port: int = 0
    grouped: bool = False

    def text(self) -> str:
        """Return the file's content."""
        return json.dumps({"v": VERSION, **asdict(self)}, indent=1) + "\n"


def recall(text: str, file: Path) -> Memory:
    """Return what a file remembers; raises UserError if it can't be trusted."""
    try:
        data = json.loads(text)
        if data.pop("v") != VERSION:
            raise ValueError("another version")
        records = tuple(Record(**record) for record in data.pop("records"))
        memory = Memory(records=records, **data)
        _check_types(memory, *records)
        return memory
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{file}: damaged ({error}); it keeps each GPU's instance and port: restore it, or remove it to number anew"
        ) from error


def _check_types(*parts: Record | Memory) -> None:
    """Raise TypeError if a field isn't of its type: JSON would hold another in its place as readily."""
    kinds = {"str": str, "int": int, "bool": bool}
    for part, known in [(each, known) for each in parts for known in fields(each)]:
        value, kind = getattr(part, known.name), kinds.get(str(known.type))
        if kind and type(value) is not kind:  # not isinstance: true would pass for an int
            raise TypeError(f"{known.name} = {json.dumps(value)}, expected {kind.__name__}")


def choose(settings: Settings, report: GpuReport, memory: Memory) -> tuple[tuple[Instance, ...], Memory]:
    """Return the instances to run, and what is to be remembered of them.

    Raises UserError where GPUs are meant but can't be used: never the CPU by accident.
    """
    devices = _plain(settings.gpu.devices)
    memory = _rebased(replace(memory, grouped=memory.grouped and memory.devices == devices), settings.comfyui.port)
    if devices == CPU or (devices in ("auto", "all") and report.driver is Driver.NO_HARDWARE):
        _refuse_vanished(devices, memory)
        return (Instance(CPU, None, settings.comfyui.port),), replace(memory, devices=devices)
    _refuse_without_driver(report)
    chosen = _selected(devices, report, memory)
    grouped = memory.grouped or len(chosen) > 1
    records = _recorded(chosen, report, memory, grouped)
    for record in records:
        if grouped and record.port > MAX_PORT:
            raise UserError(f"comfyui.port = {memory.base_port}: leaves no port for {record.uuid}; set a lower one")
    instances = tuple(
        Instance(record.id, gpu, record.port if grouped else settings.comfyui.port, grouped)
        for record, (gpu, _) in zip(records, chosen, strict=True)
    )
    others = _others(devices, memory, records)
    return instances, Memory(_by_port((*records, *others)), devices, settings.comfyui.port, grouped)


def vanished(report: GpuReport, memory: Memory) -> tuple[Record, ...]:
    """Return what is remembered of GPUs that the driver no longer lists, as after a reboot with a dead card.

    Not of one whose slot has another GPU now, unless the settings name it; nor of one that only can't be told, as
    any without a driver.
    """
    if report.driver is not Driver.OK:
        return ()
    present = {gpu.uuid for gpu in report.gpus}
    slots = {gpu.pci for gpu in report.gpus}
    untold = {gpu.pci for gpu in report.gpus if not gpu.uuid}
    gone = (record for record in memory.records if record.uuid not in present and record.pci not in untold)
    return tuple(record for record in gone if record.device or record.pci not in slots)


def absent(record: Record, report: GpuReport) -> Gpu:
    """Return a GPU that is not there any more, as one that can't be used, with what to do about it."""
    instead = ", ".join(gpu.uuid for gpu in report.gpus if gpu.pci == record.pci)
    problem = (
        f"is not there any more, its slot has {instead}; name that in gpu.devices, if it is to be used"
        if instead
        else "is not there any more: look at its power, seat and kernel log (dmesg); if it was taken out for good, "
        f"remove {record.id} from instances.json in the state folder"
    )
    return Gpu(NOWHERE, record.uuid, "", 0, record.pci, GpuState.LOST, problem)


def _plain(devices: str | Sequence[int | str]) -> Any:
    return devices if isinstance(devices, str) else list(devices)


def _by_port(records: tuple[Record, ...]) -> tuple[Record, ...]:
    return tuple(sorted(records, key=lambda record: (record.port, record.id)))


def _rebased(memory: Memory, base: int) -> Memory:
    """Move all remembered ports along with comfyui.port."""
    moved = tuple(replace(record, port=base + record.port - memory.base_port) for record in memory.records)
    return replace(memory, records=moved, base_port=base)


def _refuse_vanished(devices: Any, memory: Memory) -> None:
    """Refuse the CPU on a machine that had a GPU, unless the settings ask for it."""
    if devices != CPU and memory.records:
        gone = ", ".join(f"{record.uuid} ({record.id})" for record in memory.records)
        raise UserError(
            f"no NVIDIA GPU is on the PCI bus any more; this machine had {gone}: look at its power, seat and "
            f'kernel log (dmesg), or set gpu.devices = "cpu"'
        )


def _refuse_without_driver(report: GpuReport) -> None:
    if report.driver is not Driver.OK:
        raise UserError(f'{report.text}; to run on the CPU all the same: gpu.devices = "cpu"')


Chosen = list[tuple[Gpu, str]]
"""GPUs, each with the element of gpu.devices that chose it."""


def _selected(devices: Any, report: GpuReport, memory: Memory) -> Chosen:
    """Return the usable GPUs that the settings mean."""
    usable = report.usable
    if not usable:
        lost = "; ".join(f"GPU {gpu.index} ({gpu.name}): {gpu.problem}" for gpu in report.gpus)
        raise UserError(f'no GPU can be used: {lost or "NVML lists none"}; or gpu.devices = "cpu"')
    if devices == "all":
        return [(gpu, "") for gpu in usable]
    if devices == "auto":
        known = {record.uuid for record in memory.records}
        return [(max(usable, key=lambda gpu: (gpu.memory_mib, gpu.uuid in known, -gpu.index)), "")]
    found = [(_named(element, devices, report, memory), str(element)) for element in devices]
    chosen = [(gpu, element) for gpu, element in found if gpu.problem == ""]
    if not chosen:
        problems = "; ".join(f"GPU {element}: {gpu.problem}" for gpu, element in found)
        raise UserError(f"gpu.devices = {json.dumps(devices)}: none of them can be used: {problems}")
    _refuse_twice(devices, chosen)
    return chosen


def _refuse_twice(devices: Any, chosen: Chosen) -> None:
    """Raise UserError if two elements mean one GPU."""
    elements: dict[str, list[str]] = {}
    for gpu, element in chosen:
        elements.setdefault(gpu.uuid, []).append(element)
    for uuid, names in elements.items():
        if len(names) > 1:
            both = " and ".join(names)
            raise UserError(f"gpu.devices = {json.dumps(devices)}: {both} mean {uuid}; expected each GPU once")


def _named(element: int | str, devices: Any, report: GpuReport, memory: Memory) -> Gpu:
    """Return the GPU that an element of gpu.devices means; an index goes on meaning the GPU that it first meant."""
    record = _remembered(element, devices, memory)
    if record:
        return _still_there(record, element, report, memory)
    matches = [gpu for gpu in report.gpus if element in (gpu.uuid, gpu.index)]
    if matches:
        return _only(element, matches)
    known = ", ".join(f"{gpu.index} ({gpu.uuid or gpu.problem})" for gpu in report.gpus)
    raise UserError(f"gpu.devices: {json.dumps(element)}: no such GPU; this machine has {known}")


def _remembered(element: int | str, devices: Any, memory: Memory) -> Record | None:
    """Return the record of the GPU that an element means, or first meant; None for one that is new."""
    if isinstance(element, str):
        return next((record for record in memory.records if record.uuid == element), None)
    if memory.devices != devices:
        return None
    return next((record for record in memory.records if record.device == str(element)), None)


def _still_there(record: Record, element: int | str, report: GpuReport, memory: Memory) -> Gpu:
    """Return the GPU of a record, or what an index means in its place; else itself, as one that can't be used.

    Never another card that only has its index now: that one was not chosen.
    """
    for gpu in report.gpus:
        if gpu.uuid == record.uuid:
            return gpu
    known = {each.uuid for each in memory.records}
    slot = [gpu for gpu in report.gpus if gpu.pci == record.pci and gpu.uuid not in known]
    if slot and (isinstance(element, int) or not slot[0].uuid):
        return _only(element, slot)
    return absent(record, report)


def _only(element: int | str, matches: Sequence[Gpu]) -> Gpu:
    """Return the one GPU of several that an element could mean; raises UserError if there are more."""
    if len(matches) == 1:
        return matches[0]
    uuids = ", ".join(gpu.uuid for gpu in matches)
    raise UserError(f"gpu.devices: {element}: this GPU is split into MIG instances; name them by UUID: {uuids}")


def _others(devices: Any, memory: Memory, used: Sequence[Record]) -> tuple[Record, ...]:
    """Return the records of GPUs that aren't used now; those of them that the settings mean say by which element."""
    elements = devices if isinstance(devices, list) else []
    meant = {record.id: str(each) for each in elements if (record := _remembered(each, devices, memory))}
    taken = {record.id for record in used}
    return tuple(replace(old, device=meant.get(old.id, "")) for old in memory.records if old.id not in taken)


def _recorded(chosen: Chosen, report: GpuReport, memory: Memory, grouped: bool) -> list[Record]:
    """Return each chosen GPU's record: its own, a vanished one's that it replaces, or a new one."""
    present = {gpu.uuid for gpu in report.gpus}
    free = list(memory.records)
    records: list[Record | None] = []
    for gpu, _ in chosen:
        own = next((record for record in free if record.uuid == gpu.uuid), None)
        if own:
            free.remove(own)
        records.append(own)
    for position, (gpu, element) in enumerate(chosen):
        heir = records[position] or _inherited(gpu, free, present, grouped)
        if heir in free:
            free.remove(heir)
        taken = [*memory.records, *filter(None, records)]
        record = heir or _new(gpu, taken, memory.base_port)
        records[position] = replace(record, uuid=gpu.uuid, pci=gpu.pci, device=element)
    return [record for record in records if record]


def _inherited(gpu: Gpu, free: list[Record], present: set[str], grouped: bool) -> Record | None:
    """Return the record of a GPU that this one stands in for.

    In the slot of one that is gone, a GPU is its replacement. A lone instance keeps its identity, and with it its
    journal, whatever GPU it runs on.
    """
    for record in free:
        if record.uuid not in present and record.pci == gpu.pci:
            return record
    return free[0] if free and not grouped and len(free) == 1 else None


def _new(gpu: Gpu, taken: Sequence[Record], base: int) -> Record:
    ids = {record.id for record in taken}
    ports = {record.port for record in taken}
    number = gpu.index
    while f"gpu{number}" in ids:
        number += 1
    port = base
    while port in ports:
        port += 1
    return Record(f"gpu{number}", gpu.uuid, gpu.pci, port)
