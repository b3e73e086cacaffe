"""What the lines of the process that watches the GPUs say of one instance's GPU: pure.

Times are seconds of CLOCK_MONOTONIC, of which all processes of one boot have the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ..model import Driver, GpuSight, GpuState
from .report import failure, state_of

GRAVE_XIDS: Mapping[int, str] = MappingProxyType(
    {
        46: "the GPU stopped processing",
        48: "a double-bit ECC error",
        62: "its microcontroller halted",
        64: "a broken page of its memory can't be retired",
        79: "it has fallen off the bus",
        95: "an uncontained ECC error",
        119: "its system processor (GSP) does not answer",
        120: "its system processor (GSP) failed",
        140: "an unrecovered ECC error",
        143: "it could not be initialized",
    }
)
"""The driver's errors after which a GPU needs a person, and their meaning (NVIDIA's catalogue of Xids)."""

_MOST_XIDS = 200
"""Different errors of one GPU that are remembered: more than there are."""
_GONE = "the driver does not show it any more; look for Xid lines in dmesg, and reboot"


@dataclass(frozen=True)
class Device:
    """What one GPU or MIG instance does, as far as NVML can tell."""

    index: int
    """NVML's, of the whole GPU."""
    uuid: str = ""
    gpu_instance: int | None = None
    """NVML's number of a MIG instance."""
    fault: str = ""
    """Why it can't be used: it is lost, or must be reset."""
    percent: int | None = None
    busy: Mapping[int, int] | None = None
    """Percent of it that each process used."""
    memory: Mapping[int, int | None] | None = None
    """MiB that each process holds, None where only that can't be told."""
    here: bool = False
    """Some of its processes are in our own pid namespace, or one that has the same number."""

    def used_by(self, pids: Collection[int]) -> int | None:
        """Return the percent that these processes use; None: can't be told."""
        told = {**dict.fromkeys(self.memory or (), 0), **(self.busy or {})}
        own = told.keys() & set(pids)
        if self.busy is not None and own:
            return min(100, sum(told[pid] for pid in own))
        if self.percent == 0:
            return 0
        if self.busy is not None:
            return 0 if self.here else None  # None: a container's view of its host's pids, or nothing at all
        # Not told by process: what the device does is theirs if it has no others.
        return self.percent if own and self.memory is not None and own == self.memory.keys() else None


@dataclass(frozen=True)
class Look:
    """One line of the helper's."""

    at: float
    devices: tuple[Device, ...]
    xids: tuple[tuple[float, int, int | None, int], ...]
    """Time, index, MIG instance or None for the whole GPU, number."""


@dataclass(frozen=True)
class Trouble:
    """NVML as a whole fails."""

    driver: Driver
    text: str


def understand(line: Mapping[str, Any], hardware: Sequence[str]) -> Look | Trouble:
    """Return what a line says; ``hardware`` are the GPUs on the PCI bus.

    Raises LookupError, TypeError, ValueError or AttributeError for one that it does not understand.
    """
    if "error" in line:
        code, text = line["error"]
        return Trouble(*failure(code, text, hardware))
    xids = tuple((float(at), int(index), instance, int(xid)) for at, index, instance, xid in line["xids"])
    return Look(float(line["at"]), tuple(map(_device, line["gpus"])), xids)


def _device(row: Mapping[str, Any]) -> Device:
    state, problem = state_of(row["mig"], row["errors"])
    return Device(
        index=row["index"],
        uuid=row.get("uuid", ""),
        gpu_instance=row.get("gpu_instance"),
        fault=problem if state is GpuState.LOST else "",
        percent=row.get("percent"),
        busy=_by_process(row.get("busy")),
        memory=_by_process(row.get("processes")),
        here=row.get("here", False),
    )


def _by_process(pairs: Sequence[tuple[int, Any]] | None) -> dict[int, Any] | None:
    return None if pairs is None else dict(pairs)


@dataclass(frozen=True)
class Knowledge:
    """All that the looks so far have told. Faults stay until a later look shows a GPU that works."""

    at: float = float("-inf")
    """The last look."""
    devices: tuple[Device, ...] = ()
    places: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    """Index and MIG instance by UUID, of all that were ever seen."""
    xids: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """When each of the driver's errors came last, by UUID."""
    trouble: str = ""
    """Why nothing can be seen at all; empty: something can."""
    mismatch: str = ""
    """That library and kernel module differ."""

    def after(self, seen: Look | Trouble) -> Knowledge:
        """Return what is known after one more line."""
        if isinstance(seen, Trouble):
            return replace(self, trouble=seen.text, mismatch=seen.text if seen.driver is Driver.MISMATCH else "")
        places = {**self.places, **{each.uuid: (each.index, each.gpu_instance) for each in seen.devices if each.uuid}}
        return Knowledge(seen.at, seen.devices, places, _heard(self.xids, seen, places))

    def without(self, gpu: str) -> Knowledge:
        """Return what is known if one GPU's faults and errors are forgotten."""
        return replace(
            self,
            devices=tuple(each for each in self.devices if each.uuid and each.uuid != gpu),
            places={uuid: place for uuid, place in self.places.items() if uuid != gpu},
            xids={uuid: xids for uuid, xids in self.xids.items() if uuid != gpu},
            mismatch="",
        )

    @property
    def working(self) -> int:
        """How many of the devices seen last need nobody."""
        return sum(not (each.fault or _grave(self.xids.get(each.uuid, {}))) for each in self.devices)

    @property
    def complete(self) -> bool:
        """Whether all devices that were ever seen work."""
        return self.working == len(self.devices) and self.places.keys() <= {each.uuid for each in self.devices}

    def sight(self, gpu: str, pids: Collection[int], since: float, fresh: float) -> GpuSight:
        """Return what is known of a GPU, by UUID; its use only if the last look was at ``fresh`` or later."""
        device = next((each for each in self.devices if each.uuid == gpu), None)
        xids = self.xids.get(gpu, {})
        return GpuSight(
            device.used_by(pids) if device and self.at >= fresh else None,
            self.mismatch or self._named(gpu, self._fault(gpu, device) or _grave(xids)),
            tuple(sorted(xid for xid, at in xids.items() if at >= since and xid not in GRAVE_XIDS)),
            "driver_mismatch" if self.mismatch else "gpu_lost",
        )

    def _fault(self, gpu: str, device: Device | None) -> str:
        """Return why a GPU can't be used; of one that is gone, or too lost to tell its name, what is known of it."""
        if device:
            return device.fault
        place = self.places.get(gpu)
        for each in self.devices:
            if each.fault and not each.uuid and (place is None or each.index == place[0]):
                return each.fault
        return _GONE if place else ""

    def _named(self, gpu: str, fault: str) -> str:
        """Return a fault with the GPU's index, as far as that is known."""
        return f"GPU {self.places[gpu][0]}: {fault}" if fault and gpu in self.places else fault


def _heard(
    known: Mapping[str, Mapping[int, float]], look: Look, places: Mapping[str, tuple[int, int | None]]
) -> Mapping[str, Mapping[int, float]]:
    """Return the errors known by UUID, with those that a look brought."""
    xids = {uuid: dict(known.get(uuid, {})) for uuid in places}
    for at, index, instance, xid in look.xids:
        for uuid, place in places.items():
            if place[0] == index and (instance is None or place[1] in {None, instance}):
                xids[uuid][xid] = at
    return {uuid: dict(sorted(by.items(), key=lambda each: each[1])[-_MOST_XIDS:]) for uuid, by in xids.items()}


def _grave(xids: Mapping[int, float]) -> str:
    """Return the last of the errors after which a person is needed, in words."""
    grave = [xid for xid in xids if xid in GRAVE_XIDS]
    if not grave:
        return ""
    return f"the driver reported Xid {grave[-1]}: {GRAVE_XIDS[grave[-1]]}; look for Xid lines in dmesg, and reboot"
