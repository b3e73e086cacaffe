"""Every setting: its type, its default, what it expects, and what it is for.

README's table, the commented example and the error messages are all made from these lines.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, StrictInt

from .exposure import exposures

MAX_PORT = 65535
RESERVED = ("COMFY_SUPERVISOR_", "SUPERVISOR_")
"""How the variables begin by which we and supervisord tell the launcher of each instance what it is to do."""


_ADDRESS = re.compile(r"[\w.:-]+(%[\w.-]+)?", re.ASCII)


@dataclass(frozen=True)
class Expected:
    """What a setting takes, as its user would say it."""

    text: str
    entry: str = ""
    """What each entry of a table with free names takes."""


class Word(str):
    """A text from the environment, which has no other type: it may stand for a number, a switch, or a list."""

    __slots__ = ()


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control characters")
    return text


def _addresses(text: str) -> str:
    for address in text.split(","):
        if not _ADDRESS.fullmatch(address):  # what Python takes for the name of an IPv6 zone may be anything
            raise ValueError("not an address")
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
    if not isinstance(value, Word) or value in ("auto", "all", "cpu"):
        return _plain(value)
    return [int(item) if item.isdecimal() else item for item in value.replace(" ", "").split(",")]


def _whole(value: object) -> object:
    # Not StrictInt, which would refuse the environment's text.
    if isinstance(value, bool | float):
        raise ValueError("not a whole number")
    return _typed(value)


def _bytes(value: object) -> object:
    return str(value) if isinstance(value, str) else _whole(value)


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("not a number")  # pydantic wants a ValueError
    return _typed(value)


def _switch(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("neither true nor false")  # pydantic would take 1 for true
    return _plain(value) if value == "auto" else _typed(value)


def _typed(value: object) -> object:
    """Refuse a text from where there are other types: pydantic would take "no" for false, and "2" for 2."""
    if isinstance(value, str) and not isinstance(value, Word):
        raise ValueError("a text")
    return _plain(value)


def _plain(value: object) -> object:
    # Not every pydantic takes another kind of text for one of a Literal's.
    return str(value) if isinstance(value, Word) else value


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


def _names(value: object) -> object:
    return tuple(filter(None, (name.strip() for name in value.split(",")))) if isinstance(value, Word) else value


Text = Annotated[str, AfterValidator(_printable), Expected("text without control characters")]
Folder = Annotated[str, AfterValidator(_printable), Expected("a path without control characters")]
Whole = Annotated[int, BeforeValidator(_whole)]
Port = Annotated[Whole, Field(ge=1, le=MAX_PORT), Expected(f"a port, 1 to {MAX_PORT}")]
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
Gigabytes = Annotated[Whole, Field(ge=1, le=1024), Expected("a size in GB, 1 to 1024")]
Size = Annotated[
    ByteSize, BeforeValidator(_bytes), Field(ge=1024), Expected('bytes, or a text such as "50MiB"; 1024 or more')
]
Count = Annotated[Whole, Field(ge=0, le=1000), Expected("a number, 0 to 1000")]
Many = Annotated[Whole, Field(ge=0, le=1_000_000), Expected("a number, 0 to 1000000")]
Seconds = Annotated[Whole, Field(ge=1, le=3600), Expected("seconds, 1 to 3600")]
Switch = Annotated[bool, BeforeValidator(_switch), Expected("true or false")]
Duration = Annotated[
    float,
    Field(gt=0, le=31_536_000, allow_inf_nan=False),
    Expected("seconds, more than 0"),
    BeforeValidator(_number),
]
DurationOrNever = Annotated[
    float,
    Field(ge=0, le=31_536_000, allow_inf_nan=False),
    Expected("seconds, 0 for never"),
    BeforeValidator(_number),
]
SizeOrNone = Annotated[
    ByteSize, BeforeValidator(_bytes), Field(ge=0), Expected('bytes, or a text such as "24GiB"; 0 for none')
]
Names = Annotated[
    tuple[Annotated[str, AfterValidator(_printable)], ...], BeforeValidator(_names), Expected("a list of names")
]


Folders = Annotated[
    tuple[Annotated[str, AfterValidator(_printable)], ...], BeforeValidator(_names), Expected("a list of folders")
]


def _receiver(text: str) -> str:
    """Refuse what is no URL; nor where one is to be had."""
    if not _RECEIVER.fullmatch(text):
        raise ValueError("not a URL")
    return text


def _webhook(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s/]+.*|env:\w+|file:/.+", text):
        raise ValueError("not a web address")
    return text


def _header(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise ValueError("expected a header's name of letters, digits and -")
    return name


_RECEIVER = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+|env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|mailto:\S+")
_SECRETS = "or env:NAME, or file:/path of a file that only its owner may read"
Receivers = Annotated[
    tuple[Annotated[str, AfterValidator(_printable), AfterValidator(_receiver)], ...],
    BeforeValidator(_names),
    Expected(f"a list of apprise's URLs, {_SECRETS}"),
]
Webhook = Annotated[
    str,
    AfterValidator(_printable),
    AfterValidator(_webhook),
    Expected(f"an http:// or https:// URL, {_SECRETS}"),
]
Headers = Annotated[
    dict[Annotated[str, AfterValidator(_header)], Annotated[str, AfterValidator(_printable)]],
    Expected("a table of headers", entry=f"a text, {_SECRETS}"),
]
Alert = Literal[
    "restart", "gave_up", "gpu_fault", "blind", "journal", "alert", "quarantine", "recovery", "configuration"
]
Alerts = Annotated[tuple[Alert, ...], BeforeValidator(_names), Expected(f"a list of {', '.join(get_args(Alert))}")]
Delay = Annotated[Whole, Field(ge=1, le=86400), Expected("seconds, 1 to 86400")]


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
    listen: Addresses = Field(
        "127.0.0.1", description="where its API listens; it has no password. Beyond this machine: see security.expose"
    )
    port: Port = Field(8188, description="its port; further instances get the next ones, and keep them")
    cors_origin: Text = Field(
        "",
        description="an origin allowed to call the API, which ends ComfyUI's own check of origins. "
        '"*": any; see security.expose',
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
    policy: Annotated[
        Literal["tiers", "dynamic", "none"], BeforeValidator(_plain), Expected('"tiers", "dynamic" or "none"')
    ] = Field(
        "tiers", description='VRAM flag by size. "dynamic": none where ComfyUI manages VRAM itself. "none": never'
    )
    pin: Annotated[Literal["index", "uuid"], BeforeValidator(_plain), Expected('"index" or "uuid"')] = Field(
        "index", description="--cuda-device with the index, or the UUID in CUDA_VISIBLE_DEVICES"
    )
    cuda_malloc: Annotated[bool | Literal["auto"], BeforeValidator(_switch), Expected('true, false or "auto"')] = Field(
        False, description='torch\'s cudaMallocAsync: false and true give the flag, "auto" leaves it to ComfyUI'
    )
    require: Switch = Field(
        True, description="whether ComfyUI is held back, rather than left to compute on the CPU, where a GPU was meant"
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
    target: Annotated[Literal["files", "journal"], BeforeValidator(_plain), Expected('"files" or "journal"')] = Field(
        "files", description='"journal": each line goes to systemd\'s journal, too; the files stay'
    )


class RestartSettings(Section):
    """How ComfyUI is stopped, and how long to wait before it is started once more."""

    stop_seconds: Seconds = Field(10, description="how long ComfyUI may take to stop before it is killed")
    first_delay: Delay = Field(10, description="wait after the second death in a row; doubles with each further one")
    longest_delay: Delay = Field(300, description="the longest such wait")
    healthy_after: Delay = Field(600, description="a life this long ends the row")
    budget: Annotated[Whole, Field(ge=1, le=1000), Expected("a number, 1 to 1000")] = Field(
        5, description="deaths and restarts within the window, after which an instance is given up"
    )
    window: Delay = Field(3600, description="the budget's window")
    retry_after: Delay = Field(900, description="how often one that was given up is tried once more")


class HealthSettings(Section):
    """How ComfyUI's health is watched, and when it is restarted. All but the sizes in seconds."""

    watch: Switch = Field(True, description="whether the health listener is rendered")
    preset: Annotated[Literal["normal", "fast"], BeforeValidator(_plain), Expected('"normal" or "fast"')] = Field(
        "normal", description='"fast": other defaults here and in stall, for jobs of a few seconds'
    )
    probe_every: Duration = Field(5.0, description="between two looks")
    suspect_every: Duration = Field(1.0, description="between two looks at what is suspect")
    deadline: Duration = Field(5.0, description="for a whole answer of the API")
    start_grace: Duration = Field(600.0, description="how long a start is never restarted …")
    start_quiet: Duration = Field(120.0, description="… and how long all must have been quiet then")
    quiet: Duration = Field(30.0, description="how long the API may fail while the process does nothing")
    patience: Duration = Field(1800.0, description="how long it may fail while the process works")
    active_window: Duration = Field(10.0, description="the time over which its CPU and disk use are measured")
    frozen: Duration = Field(10.0, description="how long the process may be stopped by a signal (SIGSTOP)")
    paused: Duration = Field(300.0, description="how long jobs may wait with none running until that is said")
    memory_limit: SizeOrNone = Field(ByteSize(0), description="RAM above which it is restarted when idle. 0: never")
    recycle_after: DurationOrNever = Field(0.0, description="age at which it is restarted when idle. 0: never")


class StallSettings(Section):
    """When a running job counts as stalled: neither progress nor activity for so many seconds."""

    after: Duration = Field(180.0, description="how long a job may show neither progress nor activity")
    api_after: Duration = Field(3600.0, description="the same for a job whose node calls an API elsewhere")
    patient_nodes: Names = Field((), description="further node types that wait for a person: never stalled")
    interrupt_wait: Duration = Field(10.0, description="what a job gets to give up in, when asked")
    alert_after: Duration = Field(1800.0, description="active without progress for so long: said …")
    hard_limit: DurationOrNever = Field(0.0, description="… and for so long: restarted. 0: never")


class JobSettings(Section):
    """Jobs, which ComfyUI forgets when it ends: how they are kept, and when they are submitted again."""

    extension: Switch = Field(
        True,
        description="whether ComfyUI loads comfy-supervisor's extension, "
        "which writes each job down and tells what it does",
    )
    replay: Annotated[
        Literal["always", "crash", "never"], BeforeValidator(_plain), Expected('"always", "crash" or "never"')
    ] = Field(
        "always",
        description="which deaths of ComfyUI its unfinished jobs are submitted again after; "
        '"crash": not after a stop or restart that somebody asked for',
    )
    max_age: Duration = Field(86400.0, description="age from which an unfinished job waits for an operator")
    history: Many = Field(10000, description="finished jobs that are remembered")


class IncidentSettings(Section):
    """Incidents: a folder for each restart, crash and fault, with all that was seen of it."""

    keep: Count = Field(100, description="how many are kept, of all instances. 0: none is made")
    max_size: Size = Field(ByteSize(100 * 1024 * 1024), description="what they may take on the disk; the oldest go")


class NotifySettings(Section):
    """Alerts: who is told when something happened, and of what."""

    urls: Receivers = Field((), description="apprise's URLs (Slack, Discord, mail, ntfy …); needs the extra notify")
    webhook: Webhook = Field("", description='gets each message as JSON, by POST. "": none')
    headers: Headers = Field({}, description="HTTP headers for the webhook, such as Authorization")
    on: Alerts = Field(get_args(Alert), description="what is told")
    collect: DurationOrNever = Field(30.0, description="how long is gathered what goes into one message")
    max_age: Duration = Field(86400.0, description="how long a receiver that fails is tried again")
    keep: Annotated[Whole, Field(ge=1, le=1000), Expected("a number, 1 to 1000")] = Field(
        100, description="messages that are kept for such a receiver"
    )


class SecuritySettings(Section):
    """What is refused unless it is meant."""

    expose: Switch = Field(
        False,
        description="whether ComfyUI may be reached from elsewhere (comfyui.listen), or by any web page "
        '(comfyui.cors_origin "*"): whoever reaches it can run code as its account',
    )


class ServiceSettings(Section):
    """The service that systemd starts at boot: ``comfy-supervisor service install`` writes its unit from these."""

    writable: Folders = Field((), description="further folders that ComfyUI may write to: it may to few others")
    memory_high: SizeOrNone = Field(ByteSize(0), description="RAM above which the kernel slows it down. 0: no limit")
    oom_policy: Annotated[
        Literal["continue", "stop", "kill"], BeforeValidator(_plain), Expected('"continue", "stop" or "kill"')
    ] = Field("continue", description='systemd\'s OOMPolicy, when the kernel killed a process. "continue": only that')


class Settings(Section):
    """All settings, valid one by one; ``contradictions`` looks at them together."""

    comfyui: Comfyui = Comfyui()
    gpu: GpuSettings = GpuSettings()
    paths: PathSettings = PathSettings()
    logs: LogSettings = LogSettings()
    restart: RestartSettings = RestartSettings()
    health: HealthSettings = HealthSettings()
    stall: StallSettings = StallSettings()
    jobs: JobSettings = JobSettings()
    notify: NotifySettings = NotifySettings()
    incidents: IncidentSettings = IncidentSettings()
    service: ServiceSettings = ServiceSettings()
    security: SecuritySettings = SecuritySettings()


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
    if not settings.security.expose:
        found.extend(exposures(settings.comfyui.listen, settings.comfyui.cors_origin))
    return found
