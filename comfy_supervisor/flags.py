"""Which ComfyUI options an instance gets, each with its reason: pure, one ordered table.

What the installed release does not know is left out; what the user's own arguments contradict gives way to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import UserError
from .model import CommandLine, Flag, Gpu, Instance, Invocation
from .settings import Settings, exposure
from .settings.schema import MANAGED, Tiers, managed

CPU = "cpu"
VRAM = ("--gpu-only", "--highvram", "--normalvram", "--lowvram", "--novram", "--cpu")
"""ComfyUI's VRAM group, of which at most one may be given, in any release."""
DYNAMIC_VRAM = "--disable-dynamic-vram"
"""A release that can switch dynamic VRAM off has it on by default on NVIDIA (0.16 and later)."""

EXTENSION = "comfy_supervisor_bridge"
"""The name of our package of custom nodes, by which ComfyUI's whitelist knows it."""
LOAD, ONLY, NONE = "--extra-model-paths-config", "--whitelist-custom-nodes", "--disable-all-custom-nodes"
"""What names further folders of custom nodes, and which are loaded where none is to be."""
TAKES_PROMPT_ID = (0, 3, 45)
"""The release from which on ``POST /prompt`` takes a ``prompt_id``."""

EXTRA = "comfyui.extra_args"
"""The reason of what the user gave."""

DESTRUCTIVE = {
    "--temp-directory": "ComfyUI deletes what it finds there whenever it starts or ends",
    "--database-url": "ComfyUI's database is for one process: a second one ends at its start, or goes without",
}
"""What several instances must not share, and why: ComfyUI's main.py, and its app/database/db.py of 0.33."""
HARMFUL = {
    "--output-directory": "ComfyUI counts the files there before it writes, so images get lost",
    "--user-directory": "settings and workflows of one are written over by the other",
}
"""What they had better not share."""

QUIET = {
    "TQDM_DISABLE": "1",
    "PYTHONUNBUFFERED": "1",
    "DISABLE_PROGRESS_BARS": "true",
    "DISABLE_AUTO_LAUNCH": "true",
    "DONT_PRINT_SERVER": "true",
    "PYTHONFAULTHANDLER": "1",
}


@dataclass(frozen=True)
class Folders:
    """What one of several instances needs for itself, since shared ones destroy each other's files."""

    output: Path
    user: Path
    temp: Path
    """ComfyUI deletes ``temp`` inside it at start and at exit."""

    @property
    def database(self) -> str:
        """The URL of an SQLite file of its own."""
        return f"sqlite:///{self.user / 'comfyui.db'}"


@dataclass(frozen=True)
class Case:
    """What the rules look at."""

    instance: Instance
    settings: Settings
    accepted: CommandLine
    folders: Folders | None
    """None for a lone instance: it keeps ComfyUI's own."""
    extension: Path
    """The file that tells ComfyUI where our extension lies."""

    @property
    def gpu(self) -> Gpu | None:
        """The instance's GPU; None on the CPU."""
        return self.instance.gpu

    @property
    def pinned_by_uuid(self) -> bool:
        """Whether CUDA_VISIBLE_DEVICES carries the UUID; a MIG instance has no other address."""
        return self.gpu is not None and (self.gpu.mig or self.settings.gpu.pin == "uuid")


Rule = Callable[[Case], Iterator[Flag]]


def tier(gpu: Gpu, tiers: Tiers) -> str:
    """Return the VRAM tier of a GPU by its nominal size: ``gpu-only``, ``highvram``, ``normalvram``, ``lowvram``."""
    bounds = (("gpu-only", tiers.gpu_only), ("highvram", tiers.highvram), ("normalvram", tiers.normalvram))
    return next((name for name, least in bounds if gpu.nominal_gb >= least), "lowvram")


def choose(case: Case) -> Invocation:
    """Return how to start an instance. Raises UserError if the user's arguments leave no way to mean it."""
    extra = _extra(case)
    _refuse_shared(case, extra)
    wanted = [flag for rule in RULES for flag in rule(case)]
    flags: list[Flag] = []
    left_out: list[Flag] = []
    for flag in wanted:
        why_not = _why_not(flag, case, extra)
        if why_not:
            left_out.append(replace(flag, reason=why_not))
        else:
            flags.append(flag)
    return Invocation(
        flags=(*flags, *_let_in(extra, flags)),
        environment=_environment(case),
        tier=tier(case.gpu, case.settings.gpu.tiers) if case.gpu else CPU,
        left_out=tuple(left_out),
        notes=tuple(_notes(case, [*flags, *extra])),
    )


def _refuse_shared(case: Case, extra: Sequence[Flag]) -> None:
    """Raise UserError if the user's arguments have several instances destroy each other's files."""
    for flag in extra if case.folders else ():
        if flag.option in DESTRUCTIVE and not any(":memory:" in value for value in flag.values):
            raise UserError(
                f"comfyui.extra_args: {flag.option}: several instances would share it, and "
                f"{DESTRUCTIVE[flag.option]}; remove it: each gets one of its own"
            )


def _address(case: Case) -> Iterator[Flag]:
    comfyui = case.settings.comfyui
    yield Flag("--listen", (comfyui.listen,), "comfyui.listen")
    yield Flag("--port", (str(case.instance.port),), f"comfyui.port, for {case.instance.id}")
    if comfyui.cors_origin:
        yield Flag("--enable-cors-header", (comfyui.cors_origin,), "comfyui.cors_origin")


def _own_folders(case: Case) -> Iterator[Flag]:
    if case.folders:
        reason = "one of several instances: shared, they would lose each other's files"
        yield Flag("--output-directory", (str(case.folders.output),), reason)
        yield Flag("--temp-directory", (str(case.folders.temp),), reason)
        yield Flag("--user-directory", (str(case.folders.user),), reason)
        yield Flag("--database-url", (case.folders.database,), reason)


def _device(case: Case) -> Iterator[Flag]:
    if case.gpu:
        reason = f"{case.gpu.name}, {case.gpu.uuid}, by its index in PCI order"
        yield Flag("--cuda-device", (str(case.gpu.index),), reason)


def _vram(case: Case) -> Iterator[Flag]:
    gpu, policy = case.gpu, case.settings.gpu.policy
    if gpu is None:
        asked = case.settings.gpu.devices == CPU
        yield Flag("--cpu", (), 'gpu.devices = "cpu"' if asked else "no NVIDIA GPU in this machine")
    elif policy == "tiers" or (policy == "dynamic" and DYNAMIC_VRAM not in case.accepted):
        name = tier(gpu, case.settings.gpu.tiers)
        yield Flag(f"--{name}", (), f"{gpu.name} has {gpu.memory_mib} MiB: {_card(gpu)}")


def _card(gpu: Gpu) -> str:
    """Return ``a 24 GB card``, ``an 80 GB card``: eight, eleven, eighteen and their like begin with a vowel."""
    size = str(gpu.nominal_gb)
    return f"{'an' if size.startswith('8') or size in ('11', '18') else 'a'} {size} GB card"


def _allocator(case: Case) -> Iterator[Flag]:
    wanted = case.settings.gpu.cuda_malloc
    if case.gpu and wanted != "auto":
        option = "--cuda-malloc" if wanted else "--disable-cuda-malloc"
        yield Flag(option, (), f"gpu.cuda_malloc = {str(wanted).lower()}")


def _headless(_: Case) -> Iterator[Flag]:
    yield Flag("--disable-auto-launch", (), "nobody sits before this machine")
    yield Flag("--dont-print-server", (), "keeps the log to what matters")


def _extension(case: Case) -> Iterator[Flag]:
    if case.settings.jobs.extension:
        reason = "loads comfy-supervisor's extension, which keeps jobs; jobs.extension = false leaves it out"
        yield Flag(LOAD, (str(case.extension),), reason)
        if _has(NONE, _extra(case)):
            yield Flag(ONLY, (EXTENSION,), f"lets comfy-supervisor's extension in, in spite of {NONE}")


RULES: tuple[Rule, ...] = (_address, _own_folders, _device, _vram, _allocator, _headless, _extension)
"""In the order in which the options are given."""


def _why_not(flag: Flag, case: Case, extra: Sequence[Flag]) -> str:
    """Return why a flag of ours is not given; empty if it is."""
    if flag.option == "--cuda-device" and case.pinned_by_uuid:
        return "CUDA_VISIBLE_DEVICES carries the UUID, and this option would overwrite it"
    if flag.option not in case.accepted:
        return _unknown(flag.option, case.accepted)
    if flag.option in (LOAD, ONLY):
        return _why_no_extension(flag, case, extra)
    for theirs in extra:
        if theirs.option == flag.option or _exclude_each_other(flag.option, theirs.option, case.accepted):
            if flag.option == "--cpu":
                raise UserError(
                    f"comfyui.extra_args: {theirs.option}: can't be meant together with --cpu, which stands for "
                    f"{flag.reason}; remove one of them"
                )
            return f"comfyui.extra_args has {theirs.option}, and yours win"
    return ""


def _why_no_extension(flag: Flag, case: Case, extra: Sequence[Flag]) -> str:
    """Return why the extension, or its way through a whitelist, is left out; their own files stand beside ours."""
    if not case.settings.health.watch:
        return "health.watch = false: there is no listener that would submit its jobs again"
    if case.settings.comfyui.version:
        return "comfyui.version means another machine: copy the file there, and give this in comfyui.extra_args"
    if () < _numbers(case.accepted.version) < TAKES_PROMPT_ID:
        return f"ComfyUI {case.accepted.version} can't be given a job back under its id; 0.3.45 and later can"
    if _has(NONE, extra) and ONLY not in case.accepted:
        return f"comfyui.extra_args has {NONE}, and {_release(case.accepted)} has no {ONLY}"
    if flag.option == ONLY and _has(ONLY, extra):
        return f"comfyui.extra_args has {ONLY}, which it is added to"
    return ""


def _has(option: str, flags: Sequence[Flag]) -> bool:
    return any(flag.option == option for flag in flags)


def _numbers(version: str) -> tuple[int, ...]:
    """Return all numbers in ``0.3.64`` or ``0.3.64-2-gabc``; none for an unknown release, which counts as a new one."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _let_in(extra: tuple[Flag, ...], ours: Sequence[Flag]) -> tuple[Flag, ...]:
    """Return the user's arguments with our extension in their whitelist: of several, ComfyUI heeds the last."""
    if not (_has(LOAD, ours) and _has(NONE, extra) and _has(ONLY, extra)):
        return extra
    last = max(at for at, flag in enumerate(extra) if flag.option == ONLY)
    return (*extra[:last], replace(extra[last], values=(*extra[last].values, EXTENSION)), *extra[last + 1 :])


def _unknown(option: str, accepted: CommandLine) -> str:
    if option == "--normalvram":
        return f"{_release(accepted)} has no such option any more: normal is its default"
    return f"{_release(accepted)} has no such option"


def _release(accepted: CommandLine) -> str:
    return f"ComfyUI {accepted.version}" if accepted.version else "this ComfyUI"


def _exclude_each_other(one: str, other: str, accepted: CommandLine) -> bool:
    groups = (*accepted.exclusive, VRAM)
    return one != other and any(one in group and other in group for group in groups)


def _extra(case: Case) -> tuple[Flag, ...]:
    """Return the user's own arguments, one flag an option, abbreviations spelled out."""
    flags: list[Flag] = []
    for argument in case.settings.comfyui.extra_args:
        if argument.startswith("--") and len(argument) > len("--"):
            name, equals, value = argument.partition("=")
            option = _spelled_out(name, case.accepted)
            if option in MANAGED:
                raise UserError(f'comfyui.extra_args: "{argument}": {managed(option)}')
            flags.append(Flag(option, (value,) if equals else (), EXTRA))
        elif flags:
            flags[-1] = replace(flags[-1], values=(*flags[-1].values, argument))
        else:
            raise UserError(f'comfyui.extra_args: "{argument}": expected an option, such as --fast, before any value')
    return tuple(flags)


def _spelled_out(name: str, accepted: CommandLine) -> str:
    """Return the full name of an option that argparse would take in its abbreviated form."""
    matches = [option for option in accepted.options if option.startswith(name)]
    return name if name in accepted or len(matches) != 1 else matches[0]


def _environment(case: Case) -> Mapping[str, str]:
    environment = dict(QUIET)
    if case.gpu:
        environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        environment["CUDA_VISIBLE_DEVICES"] = case.gpu.uuid if case.pinned_by_uuid else str(case.gpu.index)
    else:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    for name, value in case.settings.comfyui.environment.items():
        if value is False:
            environment.pop(name, None)
        else:
            environment[name] = value
    return dict(sorted(environment.items()))


def _notes(case: Case, flags: Sequence[Flag]) -> Iterator[str]:
    if DYNAMIC_VRAM in case.accepted and case.gpu:
        yield from _dynamic_vram_notes(flags)
    if case.gpu and "CUDA_VISIBLE_DEVICES" in case.settings.comfyui.environment:
        yield "comfyui.environment sets CUDA_VISIBLE_DEVICES: choose GPUs with gpu.devices, or the two may disagree"
    for flag in flags if case.folders else ():
        if flag.option in HARMFUL and flag.reason == EXTRA:
            mend = "without it in comfyui.extra_args each has one of its own"
            yield f"{flag.option} is shared by several instances: {HARMFUL[flag.option]}; {mend}"
    comfyui = case.settings.comfyui
    if exposure.is_open(comfyui.listen):
        yield f"the API listens on {comfyui.listen} and has no password: keep strangers away from it"
    if exposure.is_any_origin(comfyui.cors_origin):
        origin = f'comfyui.cors_origin = "{comfyui.cors_origin}"'
        yield f"{origin} replaces ComfyUI's origin check: any web page may use the API"


def _dynamic_vram_notes(flags: Sequence[Flag]) -> Iterator[str]:
    """Say which flags end ComfyUI's own management of VRAM, and what leaves it on."""
    for flag in flags:
        theirs = flag.reason == EXTRA
        mend = "without it in comfyui.extra_args it stays on" if theirs else 'gpu.policy = "dynamic" leaves it on'
        if flag.option in ("--gpu-only", "--highvram", "--novram"):
            yield f"{flag.option} switches dynamic VRAM off; {mend}"
        elif flag.option == "--lowvram":
            yield "--lowvram hardly does anything while dynamic VRAM is on"
