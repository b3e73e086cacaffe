"""What was rendered last: the programs that supervisord runs, whatever the settings say by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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

    @property
    def address(self) -> str:
        """Where we reach it: its first address, the loopback one if it listens everywhere."""
        host, port = self.addresses[0].rsplit(":", 1)
        return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"  # noqa: S104  # not bound, reached

    @property
    def url(self) -> str:
        """The API's root."""
        return f"http://{self.address}"


@dataclass(frozen=True)
class Service:
    """The rendered configuration."""

    conf: Path
    socket: Path
    pidfile: Path
    log: Path
    instances: tuple[Rendered, ...]

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
        raise UserError(f"{conf}: nothing is rendered yet; comfy-supervisor up does it, and starts ComfyUI")
    try:
        options = reader.options(conf)
    except UserError as error:
        raise UserError(f"{conf}: {error}; comfy-supervisor render writes it anew") from error
    found = (_instance(name, meaning) for name, meaning in reader.programs(options))
    return Service(
        conf=conf,
        socket=Path(options.server_configs[0]["file"]),
        pidfile=Path(options.pidfile),
        log=Path(options.logfile),
        instances=tuple(instance for instance in found if instance),
    )


def _instance(name: str, meaning: reader.Meaning) -> Rendered | None:
    """Return the instance that a program runs; None if it isn't one of ours."""
    environment = meaning.environment
    if "COMFY_SUPERVISOR_ADDRESS" not in environment:
        return None
    return Rendered(
        program=name if meaning.group == name else f"{meaning.group}:{name}",
        id=environment["COMFY_SUPERVISOR_INSTANCE"],
        addresses=tuple(environment["COMFY_SUPERVISOR_ADDRESS"].split(",")),
        state=Path(environment["COMFY_SUPERVISOR_STATE"]),
        run=Path(environment["COMFY_SUPERVISOR_RUN"]),
        log=Path(meaning.log),
        gpu=environment.get("CUDA_VISIBLE_DEVICES", ""),
    )


def _means(name: str, instance: Rendered) -> bool:
    return name in (
        instance.program,
        instance.id,
        instance.program.split(":")[0],
        f"{instance.program.split(':')[0]}:*",
    )
