"""A stand-in for NVIDIA's driver: a compiled libnvidia-ml.so.1 that says what a test tells it to.

The ``nvml`` fixture gives a machine without a driver or hardware; the test adds what it needs. Its ``environ`` is
for the process under test; ``monkeypatch.setenv`` does for one that runs within the test's own.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("nvml.c")
LIBRARY = "libnvidia-ml.so.1"
MIB = 1024 * 1024

KNOWN_CARDS = {
    card["name"]: card["mib"]
    for card in json.loads((Path(__file__).parents[1] / "data/gpus.json").read_text())["cards"]
}
"""Real cards: their memory in MiB as NVML reports it, by name."""

ERRORS = {
    "NOT_SUPPORTED": 3,
    "NO_PERMISSION": 4,
    "NOT_FOUND": 6,
    "INSUFFICIENT_POWER": 8,
    "DRIVER_NOT_LOADED": 9,
    "TIMEOUT": 10,
    "IRQ_ISSUE": 11,
    "FUNCTION_NOT_FOUND": 13,
    "GPU_IS_LOST": 15,
    "RESET_REQUIRED": 16,
    "OPERATING_SYSTEM": 17,
    "LIB_RM_VERSION_MISMATCH": 18,
    "GPU_NOT_FOUND": 28,
    "UNKNOWN": 999,
}
"""Error codes of nvml.h, without their NVML_ERROR_."""


@dataclass(frozen=True)
class Process:
    """A process that uses a card or a MIG instance."""

    pid: int
    sm: int = 0
    """Percent of the card, where NVML tells it by process."""
    age: float = 0.0
    """Seconds since that was measured."""
    memory_mib: int = 0
    graphics: bool = False


@dataclass(frozen=True)
class Instance:
    """A MIG instance of a card; without a UUID, an empty slot."""

    name: str = ""
    memory_mib: int = 0
    uuid: str = ""
    used_mib: int = 0
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True)
class Card:
    """A GPU; what is left out is filled in by its place."""

    name: str = "NVIDIA GeForce RTX 4090"
    memory_mib: int | None = None
    """Left out, that of the real card of this name."""
    uuid: str = ""
    pci: str = ""
    used_mib: int = 0
    utilization: int = 0
    mig: int = -1
    """Its MIG mode: -1 where it knows none, 0 off, 1 on."""
    instances: tuple[Instance, ...] = ()
    processes: tuple[Process, ...] = ()

    def at(self, index: int) -> Card:
        """Return the card with its gaps filled in for the slot ``index``."""
        return replace(
            self,
            memory_mib=KNOWN_CARDS[self.name] if self.memory_mib is None else self.memory_mib,
            uuid=self.uuid or f"GPU-{index:08x}-0000-0000-0000-000000000000",
            pci=self.pci or f"00000000:{index + 1:02X}:00.0",
        )


class Nvml:
    """The pretended driver and hardware of one machine."""

    def __init__(self, library: Path, folder: Path) -> None:
        """Begin as a machine without driver and hardware."""
        self._library = library
        self._folder = folder
        self._script = folder / "nvml.txt"
        self._versions = ("550.54.15", 12040)
        self._cards: tuple[Card, ...] = ()
        self._faults: list[str] = []
        self._events: list[str] = []
        self.uninstall()
        self.hardware()

    @property
    def environ(self) -> Mapping[str, str]:
        """What a process needs in its environment to find itself on this machine."""
        return {
            "LD_LIBRARY_PATH": str(self._folder / "lib"),
            "FAKE_NVML": str(self._script),
            "COMFY_SUPERVISOR_PCI_DEVICES": str(self._folder / "pci"),
        }

    def cards(self, cards: Sequence[Card | str], *, driver: str = "550.54.15", cuda: int = 12040) -> None:
        """Put in these cards (or real ones, by name) and the driver."""
        self._cards = tuple((Card(card) if isinstance(card, str) else card).at(i) for i, card in enumerate(cards))
        self._versions = (driver, cuda)
        self.hardware(*(card.pci for card in self._cards))
        self._install()

    def hardware(self, *bus_ids: str) -> None:
        """Have the PCI bus show NVIDIA GPUs at these places, whatever NVML says."""
        shutil.rmtree(self._folder / "pci", ignore_errors=True)
        (self._folder / "pci").mkdir(parents=True)
        for bus_id in bus_ids:
            self.pci_device(bus_id)

    def pci_device(self, bus_id: str, vendor: str = "0x10de", device_class: str = "0x030000") -> None:
        """Put one more device on the PCI bus."""
        short = bus_id.removeprefix("0000") if bus_id.index(":") == len("00000000") else bus_id
        device = self._folder / "pci" / short.lower()
        device.mkdir()
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{device_class}\n")

    def uninstall(self) -> None:
        """Take the library away, so that even a real one isn't found: a file that is no library is in its place."""
        library = self._place()
        library.write_text("no library")

    def fail(self, error: str, function: str = "nvmlInitWithFlags", card: int = -1) -> None:
        """Have a function return an error, by name; for one card, if it is about cards."""
        self._fault(function, card, str(ERRORS[error]))

    def hang(self, function: str = "nvmlInitWithFlags", card: int = -1) -> None:
        """Have a function never return."""
        self._fault(function, card, "hang")

    def crash(self, function: str = "nvmlInitWithFlags", card: int = -1) -> None:
        """Have a function take its process down, as by a segmentation fault."""
        self._fault(function, card, "crash")

    def exit(self, function: str = "nvmlInitWithFlags") -> None:
        """Have a function end its process with success."""
        self._fault(function, -1, "exit")

    def print(self, function: str = "nvmlInitWithFlags") -> None:
        """Have a function print on standard output."""
        self._fault(function, -1, "print")

    def xid(self, number: int, card: int = 0, *, instance: int = -1, times: int = 1, copy: bool = False) -> None:
        """Have the driver report an error to whoever listens, of one GPU instance of a card or of the whole.

        With ``copy`` it names the card by another handle than the one it is known by.
        """
        self._events.append(f"event\t{card}\t{number}\t{instance}\t{times}\t{copy:d}")
        self._install()

    def mend(self) -> None:
        """Have every function work again."""
        self._faults.clear()
        self._install()

    def _fault(self, function: str, card: int, action: str) -> None:
        self._faults.append(f"fault\t{function}\t{card}\t{action}")
        self._install()

    def _install(self) -> None:
        """Put the library in, and write what it is to pretend."""
        driver, cuda = self._versions
        lines = [f"driver\t{driver}", f"cuda\t{cuda}", *self._faults, *self._events]
        lines += [line for card in self._cards for line in _lines(card)]
        whole = self._script.with_suffix(".new")  # a process that reads it now finds all or nothing of it
        whole.write_bytes("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
        whole.replace(self._script)
        self._place().symlink_to(self._library)

    def _place(self) -> Path:
        """Return where the library goes, cleared."""
        library = self._folder / "lib" / LIBRARY
        library.parent.mkdir(exist_ok=True)
        library.unlink(missing_ok=True)
        return library


def _lines(card: Card) -> list[str]:
    memory = (card.memory_mib or 0) * MIB
    whole = ("card", card.uuid, card.name, memory, card.used_mib * MIB, card.pci, card.utilization, card.mig)
    rows: list[tuple[object, ...]] = [whole, *map(_process, card.processes)]
    for each in card.instances:
        rows.append(("instance", each.uuid, each.name, each.memory_mib * MIB, each.used_mib * MIB))
        rows += map(_process, each.processes)
    return ["\t".join(map(str, row)) for row in rows]


def _process(process: Process) -> tuple[object, ...]:
    kind = "G" if process.graphics else "C"
    return ("process", process.pid, process.memory_mib * MIB, kind, process.sm, process.age)


def functions() -> list[str]:
    """Return the names of the functions that the stand-in has."""
    return re.findall(r"^\S.*\b(nvml[A-Z]\w+)\([^;{]*\) \{$", SOURCE.read_text(), re.MULTILINE)


def compile_library(folder: Path) -> Path:
    """Compile the stand-in library into a folder; return its path."""
    library = folder / LIBRARY
    subprocess.run(["cc", "-std=gnu11", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in library, compiled."""
    return compile_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Nvml:
    """A machine whose NVIDIA driver and hardware the test chooses; at first it has neither."""
    return Nvml(nvml_library, tmp_path_factory.mktemp("machine"))
