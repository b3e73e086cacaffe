"""From settings to everything that will be written: looks at the machine once, then only computes."""

from __future__ import annotations

import shlex
import site
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from . import __version__, disk, flags, gpu, instances, machine, paths, programs, watching
from .comfyui import find, parser, releases
from .errors import UserError
from .instances import Memory
from .model import (
    Account,
    CommandLine,
    Driver,
    File,
    Gpu,
    GpuReport,
    Installation,
    Instance,
    Invocation,
    Machine,
    Program,
)
from .notify import config as notify
from .paths import Paths
from .render import Configuration, prove, text
from .settings import Loaded

MOST_FDS = 8192
"""Open files that a ComfyUI with many models and clients will not reach.

Not more than it takes: between fork and exec supervisord closes so many descriptors one by one (10 ms for these),
and a signal that arrives meanwhile is lost: process.py, ``_prepare_child_fds``.
"""


EXTENSION = Path(__file__).with_name("extension")
"""The folder of custom nodes that ComfyUI is told of; nothing but our extension stands there."""


@dataclass(frozen=True)
class Facts:
    """What was found on this machine."""

    machine: Machine
    report: GpuReport
    installation: Installation
    accepted: CommandLine


@dataclass(frozen=True)
class Plan:
    """What is to be run, and the configuration that runs it."""

    loaded: Loaded
    facts: Facts
    site: programs.Site
    instances: tuple[Instance, ...]
    invocations: tuple[Invocation, ...]
    memory: Memory
    configuration: Configuration
    before: Memory = field(default_factory=Memory)
    """What was remembered until now."""

    @property
    def paths(self) -> Paths:
        """Where things are kept."""
        return self.site.paths

    @cached_property
    def files(self) -> tuple[File, ...]:
        """What is to be written; the configuration last, since the others are there for it."""
        chosen = zip(self.instances, self.invocations, strict=True)
        watched = watching.text(self.site, chosen, self.facts.accepted.version)
        return (
            File(self.paths.remembered, self.memory.text()),
            *([File(self.paths.health, watched)] if self.loaded.settings.health.watch else []),
            *_notify_file(self),
            *_extension_file(self),
            File(self.paths.conf, text(self.configuration)),
        )

    @property
    def folders(self) -> tuple[Folder, ...]:
        """What must be there before supervisord starts, the outer ones first."""
        return tuple(_folders(self))

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know, each once."""
        found = (note for invocation in self.invocations for note in invocation.notes)
        return tuple(dict.fromkeys((*_root_note(self), *_run_note(self), *_lost_notes(self), *found)))


@dataclass(frozen=True)
class Folder:
    """A folder to be made."""

    path: Path
    mode: int | None = None
    """None: as the umask has it, and as it is where it exists."""
    owner: Account | None = None


def make(loaded: Loaded, *, fragment: bool = False) -> Plan:
    """Look at the machine, choose, and prove the result: with ComfyUI's parser, then with supervisord's.

    Nothing is written. Raises UserError if something can't be meant, found or proved.
    """
    here = machine.look()
    places = _places(loaded, here, fragment)
    if not fragment and not paths.socket_fits(places.run):
        raise UserError(f'paths.run = "{places.run}": too long for a unix socket; set a shorter one')
    account = _account(loaded, here)
    if account:
        _refuse_in_its_hands(places, account)
    if account and not loaded.settings.comfyui.version:
        _refuse_out_of_reach(places, installed(loaded), account, extension=loaded.settings.jobs.extension)
    return compose(loaded, look(loaded, here), fragment=fragment)


def _refuse_in_its_hands(places: Paths, account: Account) -> None:
    """Refuse folders that ComfyUI's account could put others in the place of: what root runs is read from there."""
    for key, folder in (("state", places.state), ("run", places.run)):
        outer = {*folder.parents, *folder.resolve().parents}
        theirs = [path for path in outer if path.exists() and path.stat().st_uid == account.uid]
        if theirs:
            why = f"{max(theirs)} belongs to comfyui.user, {account.name}, who could change it"
            raise UserError(f'paths.{key} = "{folder}": {why}; choose one that lies in folders of root\'s')


def _places(loaded: Loaded, here: Machine, fragment: bool) -> Paths:
    """Return the folders to use.

    After a reboot nobody who may do so makes those in /run anew for the account that a fragment's ComfyUI runs as:
    there they are below the state folder, which lasts.
    """
    places = paths.choose(loaded, here)
    lasting = fragment and loaded.settings.comfyui.user and not loaded.settings.paths.run
    return replace(places, run=places.state / "run") if lasting else places


def _refuse_out_of_reach(places: Paths, installation: Installation, account: Account, *, extension: bool) -> None:
    """Refuse an account that could not run ComfyUI: supervisord would try for ever."""
    ours = [EXTENSION / flags.EXTENSION / name for name in ("__init__.py", "schema.sql")] if extension else []
    beyond = machine.out_of_reach(account, [*read_by_comfyui(installation), *ours, *_above(places)])
    if beyond:
        who = f'comfyui.user = "{account.name}"'
        raise UserError(*(f"{who}: has no way to {path}: open it, and the folders above, to others" for path in beyond))


def read_by_comfyui(installation: Installation) -> list[Path]:
    """Return what the account that ComfyUI runs as must be able to read: ours as far as it is of that, and ComfyUI."""
    launcher = Path(__file__).with_name("launch") / "__main__.py"
    return [Path(sys.executable), launcher, installation.python, installation.directory / "main.py"]


def _above(places: Paths) -> Iterator[Path]:
    """Yield the folders that are there already, of those that lead to ours."""
    for folder in (places.state, places.run):
        if folder == places.state or not folder.is_relative_to(places.state):
            yield next(parent for parent in folder.parents if parent.exists())


def compose(loaded: Loaded, facts: Facts, *, fragment: bool = False) -> Plan:
    """Choose and prove as `make` does, from what was found; raises UserError likewise."""
    here = facts.machine
    places = _places(loaded, here, fragment)
    before = recalled(places)
    chosen, memory = instances.choose(loaded.settings, facts.report, before)
    shared = site_of(loaded, facts, places)
    invocations = tuple(_invocation(instance, shared) for instance in chosen)
    _prove_flags(loaded, facts, invocations)
    run = tuple(programs.program(one, how, shared) for one, how in zip(chosen, invocations, strict=True))
    configuration = Configuration(
        programs=(*run, *beside(chosen, shared)),
        paths=places,
        header=tuple(_header(loaded, facts, chosen, memory)),
        min_fds=min(MOST_FDS, here.hard_fd_limit),
        log_bytes=int(loaded.settings.logs.max_bytes),
        log_backups=loaded.settings.logs.backups,
        user="root" if here.root else "",
        fragment=fragment,
    )
    prove(configuration)
    return Plan(loaded, facts, shared, chosen, invocations, memory, configuration, before)


def beside(chosen: Sequence[Instance], shared: programs.Site) -> Iterator[Program]:
    """Yield the programs that supervisord runs beside ComfyUI."""
    if shared.settings.health.watch:
        yield programs.listener(shared)
    if shared.settings.logs.target == "journal":
        yield programs.journal(chosen, shared)


def look(loaded: Loaded, here: Machine) -> Facts:
    """Return what is on this machine, as far as the settings want it looked at."""
    installation = installed(loaded)
    return Facts(here, detected(loaded), installation, accepted(loaded, installation))


def detected(loaded: Loaded) -> GpuReport:
    """Return the machine's GPUs; with ``gpu.devices = "cpu"`` none is looked for."""
    return GpuReport(Driver.NO_HARDWARE) if loaded.settings.gpu.devices == instances.CPU else gpu.detect()


def accepted(loaded: Loaded, installation: Installation) -> CommandLine:
    """Return the options that ComfyUI knows: asked of the installed one, or from the record of a release."""
    elsewhere = loaded.settings.comfyui.version
    if elsewhere:
        return releases.nearest(elsewhere)
    return parser.read(installation, account=_account(loaded, machine.look()))


def installed(loaded: Loaded) -> Installation:
    """Return the ComfyUI that the settings mean; with ``comfyui.version``, one on another machine."""
    wanted = loaded.settings.comfyui
    directory = wanted.directory
    if directory not in ("", find.STANDIN):
        directory = str(loaded.path(directory))
    python = str(loaded.path(wanted.python)) if "/" in wanted.python else wanted.python
    if not wanted.version:
        return find.find(directory, python)
    if not (wanted.directory and python):
        raise UserError(
            f'comfyui.version = "{wanted.version}": means a machine that is not this one; '
            f"set comfyui.directory and comfyui.python as they are there"
        )
    return Installation(Path(directory), Path(python), wanted.version)


def case(instance: Instance, shared: programs.Site) -> flags.Case:
    """Return what the flags of an instance are chosen from."""
    own = programs.folders(instance, shared)
    return flags.Case(instance, shared.settings, shared.accepted, own, shared.paths.extension)


def _invocation(instance: Instance, shared: programs.Site) -> Invocation:
    return flags.choose(case(instance, shared))


def recalled(places: Paths) -> Memory:
    """Return the instances that are remembered by now; raises UserError if the file makes no sense."""
    content = disk.current(places.remembered)
    return Memory() if content is None else instances.recall(content, places.remembered)


def site_of(loaded: Loaded, facts: Facts, places: Paths) -> programs.Site:
    """Return what all programs share; raises UserError for an account that can't be used."""
    output = loaded.settings.paths.output
    standin = find.is_standin(facts.installation.directory)  # part of our package: nothing is written there
    theirs = (places.state if standin else facts.installation.directory) / "output"
    return programs.Site(
        settings=loaded.settings,
        paths=places,
        installation=facts.installation,
        accepted=facts.accepted,
        python=(sys.executable, isolation()),
        account=_account(loaded, facts.machine),
        output=loaded.path(output) if output else theirs,
    )


def isolation() -> str:
    """Return the option that shields a Python of ours from the working folder and PYTHON* variables.

    An installation among the user's own packages is not seen with -I, which leaves them out.
    """
    mine = Path(__file__).parent
    among_users = site.ENABLE_USER_SITE and mine.is_relative_to(site.getusersitepackages())
    return "-E" if among_users else "-I"


def _account(loaded: Loaded, here: Machine) -> Account | None:
    """Return whom ComfyUI is to run as, if not as ourselves."""
    wanted = loaded.settings.comfyui.user
    if wanted in ("", here.me.name):
        return None
    if not here.root:
        raise UserError(
            f'comfyui.user = "{wanted}": only root may start programs as somebody else; you are {here.me.name}'
        )
    return machine.account(wanted)


def _prove_flags(loaded: Loaded, facts: Facts, invocations: Sequence[Invocation]) -> None:
    argvs = [invocation.argv for invocation in invocations]
    if loaded.settings.comfyui.version:
        refusals = parser.prove_record(facts.accepted, argvs)
    else:
        refusals = parser.prove(facts.installation, argvs, account=_account(loaded, facts.machine))
    release = f"ComfyUI {facts.accepted.version}".rstrip()
    extra = shlex.join(loaded.settings.comfyui.extra_args)
    blame = f"; look at comfyui.extra_args = {extra}" if extra else ""
    found = [f"{release} refuses its options: {refusal}{blame}" for refusal in refusals if refusal]
    if found:
        raise UserError(*dict.fromkeys(found))


def _header(loaded: Loaded, facts: Facts, chosen: Sequence[Instance], memory: Memory) -> Iterator[str]:
    yield f"supervisord's configuration for ComfyUI, rendered by comfy-supervisor {__version__} from {loaded.source}"
    yield "Changes made here are lost: change the settings, then: comfy-supervisor apply"
    yield ""
    installation = facts.installation
    yield f"ComfyUI {facts.accepted.version} in {installation.directory}, run by {installation.python}"
    yield f"Its options were read from, and proved with, {facts.accepted.source}"
    report = facts.report
    if report.driver is Driver.OK:
        yield f"NVIDIA driver {report.driver_version}, CUDA up to {report.cuda_version}"
    used = {instance.gpu.uuid: instance for instance in chosen if instance.gpu}
    for device in report.gpus:
        yield _device(device, used.get(device.uuid))
    for record in instances.vanished(report, memory):
        yield f"{record.uuid} ({record.id}, port {record.port}) {instances.absent(record, report).problem}"


def _device(device: Gpu, instance: Instance | None) -> str:
    use = device.problem or (f"{instance.program}, port {instance.port}" if instance else "not used")
    memory = f"{device.memory_mib} MiB" if device.memory_mib else ""
    return f"GPU {device.index}: {', '.join(filter(None, (device.name, memory, device.uuid or device.pci)))}: {use}"


def _run_note(plan: Plan) -> Iterator[str]:
    """Warn of a run folder that a reboot takes away from the account that ComfyUI runs as."""
    run = plan.paths.run
    passing = any(run.is_relative_to(folder) for folder in ("/run", "/var/run"))
    if plan.configuration.fragment and plan.site.account and passing:
        yield f'paths.run = "{run}": is gone after a reboot, and {plan.site.account.name} can\'t make it; leave it out'


def _lost_notes(plan: Plan) -> Iterator[str]:
    """Name each GPU that is left out, with the instance that it had."""
    had = {record.pci: f", {record.id}" for record in plan.memory.records}
    for device in plan.facts.report.gpus:
        if device.problem:
            which = f"{device.uuid or device.pci}{had.get(device.pci, '')}"
            yield f"GPU {device.index} ({which}) is left out: {device.problem}"
    for record in instances.vanished(plan.facts.report, plan.memory):
        yield f"{record.uuid} ({record.id}) {instances.absent(record, plan.facts.report).problem}"
    runs_on = {record.id: record.uuid for record in plan.memory.records}
    slots = {device.pci for device in plan.facts.report.gpus}
    for old in instances.vanished(plan.facts.report, plan.before):
        if old.pci not in slots and runs_on[old.id] != old.uuid:
            yield (
                f"{old.uuid} is not there any more: look at its power, seat and kernel log (dmesg); "
                f"{old.id} runs on {runs_on[old.id]} instead"
            )


def _notify_file(plan: Plan) -> Iterator[File]:
    """Yield whom to tell of what; where nobody is to be told any more, that is written, too."""
    settings = plan.loaded.settings.notify
    told = notify.Config(**settings.model_dump())
    if told.receivers or disk.current(plan.paths.notify) is not None:
        yield File(plan.paths.notify, notify.text(told))


def _extension_file(plan: Plan) -> Iterator[File]:
    """Yield what tells ComfyUI of our extension; ComfyUI's account reads it too, and nothing in it is secret."""
    if plan.loaded.settings.jobs.extension:
        yield File(plan.paths.extension, programs.extension(EXTENSION), mode=0o644)


def _folders(plan: Plan) -> Iterator[Folder]:
    """Yield the folders: ours closed to others, but for the way to what belongs to ComfyUI's own account."""
    paths_, account = plan.paths, plan.site.account
    outer = 0o711 if account else 0o700
    yield Folder(paths_.state, outer)
    yield Folder(paths_.run, outer)
    yield Folder(paths_.logs, None if plan.loaded.settings.paths.logs else 0o700)
    for instance in plan.instances:
        yield Folder(paths_.instance_state(instance.id), 0o700, account)
        yield Folder(paths_.instance_run(instance.id), 0o700, account)
        own = programs.folders(instance, plan.site)
        if own:
            yield Folder(own.user, 0o700, account)
            yield Folder(own.output, None, account)


def _root_note(plan: Plan) -> Iterator[str]:
    if plan.facts.machine.root and not plan.site.account and not plan.loaded.settings.comfyui.user:
        yield "ComfyUI will run as root: anybody's custom node may do anything here; set comfyui.user"
