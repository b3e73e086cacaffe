"""What was rendered last: the programs that supervisord runs, whatever the settings say by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import presence, programs, rpc
from .comfyui import find
from .errors import UserError
from .render import reader


@dataclass(frozen=True)
class Rendered:
    """One instance as its program has it."""

    program: str
    """Its name for supervisorctl."""
    id: str
    addresses: tuple[str, ...]
    """Where it listens: ``127.0.0.1:8188``."""
    state: Path
    run: Path
    log: Path
    gpu: str
    """What CUDA_VISIBLE_DEVICES holds: an index, a UUID, or nothing."""
    command: tuple[str, ...] = ()
    """ComfyUI's own: its interpreter, its main.py, and its options."""
    environment: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """What its program sets."""
    uid: int | None = None
    """Of the account that it runs as, where that is not supervisord's own."""

    @property
    def standin(self) -> bool:
        """Whether it is our stand-in that runs, instead of ComfyUI."""
        return len(self.command) > 1 and find.is_standin(Path(self.command[1]).parent)

    @property
    def extension(self) -> bool:
        """Whether ComfyUI is told to load our extension."""
        return str(self.state.parent / "extension.yaml") in self.command

    @property
    def url(self) -> str:
        """The API's root."""
        return programs.url(self.addresses, self.command)

    @property
    def port(self) -> int:
        """Its API's port."""
        return int(self.addresses[0].rpartition(":")[2])


@dataclass(frozen=True)
class Service:
    """The rendered configuration."""

    conf: Path
    socket: Path
    pidfile: Path
    log: Path
    instances: tuple[Rendered, ...]
    health_log: Path | None = None
    """Where the health listener tells its story; None: there is to be none."""

    @property
    def watched(self) -> bool:
        """Whether the health listener is to watch them."""
        return self.health_log is not None

    @property
    def url(self) -> str:
        """Where supervisord answers."""
        return f"unix://{self.socket}"

    def named(self, names: Sequence[str]) -> tuple[Rendered, ...]:
        """Return the instances that were named, as ``comfyui:gpu1``, ``gpu1`` or ``comfyui``; all if none was.

        Raises UserError for a name that there isn't.
        """
        if not names:
            return self.instances
        found = [instance for instance in self.instances for name in names if _means(name, instance)]
        for name in names:
            if not any(_means(name, instance) for instance in self.instances):
                known = ", ".join(instance.program for instance in self.instances)
                raise UserError(f"{name}: no such program; there is {known}")
        return tuple(dict.fromkeys(found))


def read(conf: Path) -> Service:
    """Return what a rendered configuration holds; raises UserError if there is none, or it can't be read."""
    if not conf.exists():
        raise UserError(f"{conf}: nothing is rendered yet; {presence.starter_of(conf)} does it, and starts ComfyUI")
    try:
        options = reader.options(conf)
    except UserError as error:
        raise UserError(f"{conf}: {error}; comfy-supervisor render writes it anew") from error
    meant = dict(reader.programs(options))
    found = (_instance(name, meaning) for name, meaning in meant.items())
    listener = meant.get(programs.LISTENER)
    return Service(
        conf=conf,
        socket=Path(options.server_configs[0]["file"]),
        pidfile=Path(options.pidfile),
        log=Path(options.logfile),
        instances=tuple(instance for instance in found if instance),
        health_log=Path(listener.log) if listener else None,
    )


def _instance(name: str, meaning: reader.Meaning) -> Rendered | None:
    """Return the instance that a program runs; None if it isn't one of ours."""
    environment = meaning.environment
    if "COMFY_SUPERVISOR_ADDRESS" not in environment:
        return None
    return Rendered(
        program=rpc.program_name(meaning.group, name),
        id=environment["COMFY_SUPERVISOR_INSTANCE"],
        addresses=tuple(environment["COMFY_SUPERVISOR_ADDRESS"].split(",")),
        state=Path(environment["COMFY_SUPERVISOR_STATE"]),
        run=Path(environment["COMFY_SUPERVISOR_RUN"]),
        log=Path(meaning.log),
        gpu=environment.get("CUDA_VISIBLE_DEVICES", ""),
        command=meaning.argv[meaning.argv.index("--") + 1 :] if "--" in meaning.argv else (),
        environment=environment,
        uid=meaning.uid,
    )


def _means(name: str, instance: Rendered) -> bool:
    return name in (
        instance.program,
        instance.id,
        instance.program.split(":")[0],
        f"{instance.program.split(':')[0]}:*",
    )
