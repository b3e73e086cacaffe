"""The values that flow through the house: small, frozen, knowing nothing but themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

SHARED_STATE = Path("/var/lib/comfy-supervisor")
SHARED_RUN = Path("/run/comfy-supervisor")
"""Where a service of the whole machine keeps its things: the two folders' system-wide places."""


@dataclass(frozen=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    home: Path


@dataclass(frozen=True)
class Machine:
    """This machine, as far as paths and limits depend on it."""

    me: Account
    home: Path
    state_home: Path
    """$XDG_STATE_HOME, or its default."""
    runtime_dir: Path | None
    """$XDG_RUNTIME_DIR; None where there is none."""
    lingering: bool
    """Whether the runtime folder outlives the login: systemd removes it with the last session otherwise."""
    shared_state: bool
    """Whether /var/lib/comfy-supervisor is ours to use: we are root, or it was made for us."""
    hard_fd_limit: int
    shared_run: bool = False
    """Whether /run/comfy-supervisor was made for us."""

    @property
    def root(self) -> bool:
        """Whether we run as root."""
        return self.me.uid == 0


class Driver(str, Enum):
    """What can be said of this machine's NVIDIA driver."""

    OK = "ok"
    NO_HARDWARE = "no_hardware"
    """No NVIDIA device on the PCI bus or beside it, and no NVML: a machine for ``--cpu``."""
    NO_LIBRARY = "no_library"
    """NVIDIA hardware without libnvidia-ml.so.1."""
    NOT_LOADED = "not_loaded"
    """The library is there, the kernel module isn't."""
    MISMATCH = "mismatch"
    """Library and kernel module are of different versions: a driver update without a reboot."""
    NO_PERMISSION = "no_permission"
    HANGS = "hangs"
    """NVML did not answer within its deadline."""
    BROKEN = "broken"
    """Any other NVML error; the text says which."""


class GpuState(str, Enum):
    """Whether a GPU can be used."""

    OK = "ok"
    LOST = "lost"
    """NVML_ERROR_GPU_IS_LOST, RESET_REQUIRED and the like: a person is needed."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Gpu:
    """One device that CUDA can be pinned to: a whole GPU, or one MIG instance of it."""

    index: int
    """NVML's index of the physical GPU: PCI order; may change over a reboot."""
    uuid: str
    """``GPU-…`` or ``MIG-…``; empty if the GPU is too lost to tell."""
    name: str
    memory_mib: int
    pci: str
    """PCI bus id as NVML writes it, ``00000000:01:00.0``."""
    state: GpuState = GpuState.OK
    problem: str = ""
    """Why it can't be used; empty if it can."""
    mig: bool = False
    """A MIG instance: can only be addressed by its UUID."""

    @property
    def nominal_gb(self) -> int:
        """The size on the box: a "16 GB" card reports 16376 MiB, an "8 GB" one 8188 or 8192."""
        return round(self.memory_mib / 1024)


@dataclass(frozen=True)
class GpuReport:
    """What this machine has, and what can be said of its driver."""

    driver: Driver
    text: str = ""
    """The driver's trouble and its mend, in one line; empty when all is well."""
    driver_version: str = ""
    cuda_version: str = ""
    """The newest CUDA that the driver speaks, ``12.4``."""
    gpus: tuple[Gpu, ...] = ()
    """In NVML's order; unusable ones included, MIG parents replaced by their instances."""

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """The GPUs that work."""
        return tuple(gpu for gpu in self.gpus if gpu.state is GpuState.OK)


@dataclass(frozen=True)
class GpuUse:
    """What one GPU is doing at this moment."""

    uuid: str
    memory_used_mib: int
    memory_total_mib: int
    utilization_percent: int | None = None
    """None where NVML can't tell (MIG)."""
    index: int | None = None
    """NVML's index of a whole GPU; None for a MIG instance, which has no index of its own."""


@dataclass(frozen=True)
class GpuSight:
    """What is seen of one GPU that some processes are to use."""

    percent: int | None = None
    """Its use by these processes; None: can't be told."""
    fault: str = ""
    """Why a person is needed; empty: works, or nothing is known."""
    xids: tuple[int, ...] = ()
    """The driver's error numbers since a time, that leave the GPU usable."""
    cause: str = "gpu_lost"
    """The fault's cause id; with ``driver_mismatch`` what runs already goes on, and only a start would fail."""


@dataclass(frozen=True)
class Installation:
    """A ComfyUI as it lies on disk."""

    directory: Path
    python: Path
    """The interpreter that runs it."""
    version: str
    """``0.3.64``; empty if it doesn't say."""


@dataclass(frozen=True)
class Option:
    """One long option of ComfyUI's command line."""

    name: str
    nargs: int | str | None = None
    """As argparse has it: 0 for a switch, None for exactly one value, ``?``, ``*``, ``+`` or a number."""
    type: str | None = None
    """The name of argparse's type: ``str``, ``int``, ``float``, or a function of ComfyUI's own."""
    choices: tuple[str, ...] = ()
    action: str = "_StoreAction"
    """The class name of argparse's action."""


@dataclass(frozen=True)
class CommandLine:
    """What a ComfyUI release accepts on its command line."""

    version: str
    """``0.3.64``; empty if unknown."""
    options: Mapping[str, Option]
    exclusive: tuple[tuple[str, ...], ...]
    """Groups of options of which at most one may be given."""
    source: str
    """Where this was read: a file, or the release whose record was used."""

    def __contains__(self, option: str) -> bool:
        """Tell whether the release knows the option."""
        return option in self.options


@dataclass(frozen=True)
class Flag:
    """One option as it will be given, and why."""

    option: str
    values: tuple[str, ...] = ()
    reason: str = ""

    @property
    def argv(self) -> tuple[str, ...]:
        """The option and its values, as arguments."""
        return (self.option, *self.values)


@dataclass(frozen=True)
class Invocation:
    """How one ComfyUI is to be started: what is given, what is left out, each with its reason."""

    flags: tuple[Flag, ...]
    environment: Mapping[str, str]
    tier: str
    """The VRAM tier of its GPU by size (``gpu-only`` … ``lowvram``), whether or not its flag is given; or ``cpu``."""
    left_out: tuple[Flag, ...] = ()
    """Flags that were meant but not given, each with the reason."""
    notes: tuple[str, ...] = ()
    """What an operator should know of the choice."""

    @property
    def argv(self) -> tuple[str, ...]:
        """All flags, as arguments."""
        return tuple(argument for flag in self.flags for argument in flag.argv)


@dataclass(frozen=True)
class Instance:
    """One ComfyUI on one GPU; its id, port and GPU's UUID are remembered and never renumbered."""

    id: str
    """``gpu0``, … or ``cpu``."""
    gpu: Gpu | None
    port: int
    grouped: bool = False
    """One of several, or remembered as such: ``comfyui:gpu0`` instead of ``comfyui``."""

    @property
    def program(self) -> str:
        """Its name for supervisorctl."""
        return f"comfyui:{self.id}" if self.grouped else "comfyui"


@dataclass(frozen=True)
class Program:
    """One section of supervisord's configuration that runs something."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    log: Path
    kind: Literal["program", "eventlistener"] = "program"
    group: str = ""
    user: str = ""
    """The account to run as; empty: supervisord's own."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further options, each already a plain word of supervisord's: ``{"startsecs": "0"}``."""
    comments: tuple[str, ...] = ()
    """What was detected and why each flag was chosen."""


@dataclass(frozen=True)
class File:
    """A file to be written."""

    path: Path
    content: str
    mode: int = 0o600
