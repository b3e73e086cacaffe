"""Every setting: its type, its default, what it expects, and what it is for.

README's table, the commented example and the error messages are all made from these lines.
"""

from __future__ import annotations

import ipaddress
import shlex
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, StrictInt

MAX_PORT = 65535
RESERVED = ("COMFY_SUPERVISOR_", "SUPERVISOR_")
"""How the variables begin by which we and supervisord tell the launcher of each instance what it is to do."""


@dataclass(frozen=True)
class Expected:
    """What a setting takes, as its user would say it."""

    text: str
    entry: str = ""
    """What each entry of a table with free names takes."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control characters")
    return text


def _addresses(text: str) -> str:
    for address in text.split(","):
        if address != "localhost":
            ipaddress.ip_address(address)
    return text


def _account(name: str) -> str:
    if name and not name.replace("-", "").replace("_", "").replace(".", "").rstrip("$").isalnum():
        raise ValueError("not an account name")
    return name


def _words(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _elements(value: object) -> object:
    if not isinstance(value, str) or value in ("auto", "all", "cpu"):
        return value
    return [int(item) if item.isdecimal() else item for item in value.replace(" ", "").split(",")]


def _device(value: int | str) -> int | str:
    if isinstance(value, int) and value < 0:
        raise ValueError("an index counts from 0")
    if isinstance(value, str) and not value.startswith(("GPU-", "MIG-")):
        raise ValueError("not a UUID")
    return value


def _variable(name: str) -> str:
    if not (name.isascii() and name.isidentifier()):
        raise ValueError("expected a name of letters, digits and _, which doesn't begin with a digit")
    if name.startswith(RESERVED):
        raise ValueError(
            f"expected a name that doesn't begin with {' or '.join(RESERVED)}: the launcher is told by these"
        )
    return name


def _text_or_false(value: object) -> object:
    # Literal[False] alone would take 0 for false, and remove what was meant to be set.
    if value is not False and not isinstance(value, str):
        raise ValueError("neither a text nor false")
    return value


Text = Annotated[str, AfterValidator(_printable), Expected("text without control characters")]
Folder = Annotated[str, AfterValidator(_printable), Expected("a path without control characters")]
Port = Annotated[int, Field(ge=1, le=MAX_PORT), Expected(f"a port, 1 to {MAX_PORT}")]
Addresses = Annotated[str, AfterValidator(_addresses), Expected("IP addresses, separated by commas")]
Account = Annotated[str, AfterValidator(_account), Expected("the name of an account")]
Arguments = Annotated[
    tuple[Annotated[str, AfterValidator(_printable)], ...],
    BeforeValidator(_words),
    Expected("a list of arguments, or one text of them"),
]
Variables = Annotated[
    dict[
        Annotated[str, AfterValidator(_variable)],
        Annotated[Literal[False] | Annotated[str, AfterValidator(_printable)], BeforeValidator(_text_or_false)],
    ],
    Expected(
        "a table: a text sets the variable, false removes it",
        entry="a text, or false to remove it (no control characters)",
    ),
]
Devices = Annotated[
    Literal["auto", "all", "cpu"]
    | Annotated[
        tuple[Annotated[StrictInt | str, AfterValidator(_device)], ...],
        Field(min_length=1),
    ],
    BeforeValidator(_elements),
    Expected('"auto", "all", "cpu", or a list of indices and UUIDs'),
]
Gigabytes = Annotated[int, Field(ge=1, le=1024), Expected("a size in GB, 1 to 1024")]
Size = Annotated[ByteSize, Field(ge=1024), Expected('bytes, or a text such as "50MiB"; 1024 or more')]
Count = Annotated[int, Field(ge=0, le=1000), Expected("a number, 0 to 1000")]
Seconds = Annotated[int, Field(ge=1, le=3600), Expected("seconds, 1 to 3600")]
Delay = Annotated[int, Field(ge=1, le=86400), Expected("seconds, 1 to 86400")]


class Section(BaseModel):
    """A table of the settings file: frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def as_table(annotation: Any) -> type[Section] | None:
    """Return what a field is annotated with if that is a table, else None."""
    # Not isinstance(…, type): on Python 3.10 tuple[str, ...] passes for a class, and then fails as one.
    return annotation if isinstance(annotation, type(Section)) else None


class Comfyui(Section):
    """The ComfyUI to run."""

    directory: Folder = Field(
        "", description='ComfyUI\'s folder. "": looked for in the usual places. "standin": the stand-in'
    )
    python: Folder = Field("", description='the interpreter that runs it. "": the folder\'s own environment')
    version: Text = Field(
        "", description='"": asks the installed one. "0.3.64": render for a machine that is not this one'
    )
    listen: Addresses = Field("127.0.0.1", description="where its API listens; it has no password of its own")
    port: Port = Field(8188, description="its port; further instances get the next ones, and keep them")
    cors_origin: Text = Field(
        "", description='an origin allowed to call the API. "*": any, which ends ComfyUI\'s origin check'
    )
    extra_args: Arguments = Field((), description="further ComfyUI options; in a conflict yours win")
    environment: Variables = Field({}, description="environment variables to set, or with false to remove")
    user: Account = Field("", description='the account to run it as, when supervisord runs as root. "": the same')


class Tiers(Section):
    """From which nominal size on a GPU gets which VRAM flag; below the last: ``--lowvram``."""

    gpu_only: Gigabytes = Field(20, description="GB from which a GPU gets --gpu-only")
    highvram: Gigabytes = Field(16, description="GB from which it gets --highvram")
    normalvram: Gigabytes = Field(9, description="GB from which it gets --normalvram; below: --lowvram")


class GpuSettings(Section):
    """Which GPUs, and how ComfyUI is to use them."""

    devices: Devices = Field(
        "auto", description='"auto": the GPU with most memory. "all": one instance each. [0, "GPU-…"]. "cpu"'
    )
    policy: Annotated[Literal["tiers", "dynamic", "none"], Expected('"tiers", "dynamic" or "none"')] = Field(
        "tiers", description='VRAM flag by size. "dynamic": none where ComfyUI manages VRAM itself. "none": never'
    )
    pin: Annotated[Literal["index", "uuid"], Expected('"index" or "uuid"')] = Field(
        "index", description="--cuda-device with the index, or the UUID in CUDA_VISIBLE_DEVICES"
    )
    cuda_malloc: Annotated[bool | Literal["auto"], Expected('true, false or "auto"')] = Field(
        False, description='torch\'s cudaMallocAsync: false and true give the flag, "auto" leaves it to ComfyUI'
    )
    tiers: Tiers = Tiers()


class PathSettings(Section):
    """Where things are kept."""

    state: Folder = Field(
        "", description='what must last. "": /var/lib/comfy-supervisor, else ~/.local/state/comfy-supervisor'
    )
    run: Folder = Field("", description='the socket and what may be lost. "": /run/comfy-supervisor, else under state')
    logs: Folder = Field("", description='"": logs in the state folder')
    output: Folder = Field("", description='where several instances put a folder each. "": ComfyUI\'s output folder')


class LogSettings(Section):
    """Log files: rotated by size."""

    max_bytes: Size = Field(ByteSize(50 * 1024 * 1024), description="size at which a log is rotated")
    backups: Count = Field(5, description="rotated logs that are kept")


class RestartSettings(Section):
    """How ComfyUI is stopped, and how long to wait before it is started once more."""

    stop_seconds: Seconds = Field(10, description="how long ComfyUI may take to stop before it is killed")
    first_delay: Delay = Field(10, description="wait after the second death in a row; doubles with each further one")
    longest_delay: Delay = Field(300, description="the longest such wait")
    healthy_after: Delay = Field(600, description="a life this long ends the row")


class Settings(Section):
    """All settings, valid one by one; ``contradictions`` looks at them together."""

    comfyui: Comfyui = Comfyui()
    gpu: GpuSettings = GpuSettings()
    paths: PathSettings = PathSettings()
    logs: LogSettings = LogSettings()
    restart: RestartSettings = RestartSettings()


MANAGED = {
    "--port": "comfyui.port",
    "--listen": "comfyui.listen",
    "--enable-cors-header": "comfyui.cors_origin",
    "--cuda-device": "gpu.devices",
}
"""Options that have a setting of their own, since other parts need to know them."""


def managed(option: str) -> str:
    """Return what to say of a managed option among the user's own arguments."""
    return f"{option} has a setting of its own; set {MANAGED[option]} instead"


def contradictions(settings: Settings) -> list[tuple[str, Any, str]]:
    """Return what can't be meant together: (key, value, what is expected)."""
    found: list[tuple[str, Any, str]] = []
    for argument in settings.comfyui.extra_args:
        option = argument.split("=", 1)[0]
        if option in MANAGED:
            found.append(("comfyui.extra_args", argument, managed(option)))
    tiers = settings.gpu.tiers
    if not tiers.gpu_only > tiers.highvram > tiers.normalvram:
        sizes = {"gpu_only": tiers.gpu_only, "highvram": tiers.highvram, "normalvram": tiers.normalvram}
        found.append(("gpu.tiers", sizes, "expected gpu_only > highvram > normalvram"))
    devices = settings.gpu.devices
    if not isinstance(devices, str) and len(set(devices)) < len(devices):
        found.append(("gpu.devices", list(devices), "expected each GPU once"))
    restart = settings.restart
    if restart.first_delay > restart.longest_delay:
        found.append(("restart.first_delay", restart.first_delay, "expected at most restart.longest_delay"))
    return found
