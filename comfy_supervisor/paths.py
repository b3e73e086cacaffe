"""Where things are kept: pure, from the settings and what the machine offers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .model import SHARED_RUN, SHARED_STATE, Machine

if TYPE_CHECKING:
    from .settings import Loaded

LONGEST_SOCKET = 90
"""Bytes: a unix socket's path has 107 (unix(7)), and supervisord first binds ``<path>.<pid>``."""
NAME = "comfy-supervisor"
APPLIED = "supervisord.applied.conf"
"""Stands beside the rendered configuration."""


@dataclass(frozen=True)
class Paths:
    """The folders, and the files in them that more than one part uses."""

    state: Path
    run: Path
    logs: Path

    @property
    def conf(self) -> Path:
        """The rendered configuration."""
        return self.state / "supervisord.conf"

    @property
    def applied(self) -> Path:
        """The configuration that the running supervisord has taken over."""
        return self.state / APPLIED

    @property
    def remembered(self) -> Path:
        """The ids, UUIDs and ports of all instances ever rendered."""
        return self.state / "instances.json"

    @property
    def health(self) -> Path:
        """What the health listener is to watch."""
        return self.state / "health.json"

    @property
    def notify(self) -> Path:
        """Whom the health listener is to tell of what."""
        return self.state / "notify.json"

    @property
    def extension(self) -> Path:
        """Tells ComfyUI where our extension lies."""
        return self.state / "extension.yaml"

    @property
    def lock(self) -> Path:
        """Held by whoever changes what stands in the state folder."""
        return self.state / "lock"

    @property
    def socket(self) -> Path:
        """Where supervisord answers."""
        return self.run / "supervisor.sock"

    @property
    def pidfile(self) -> Path:
        """Where supervisord writes its process id."""
        return self.run / "supervisord.pid"

    @property
    def supervisord_log(self) -> Path:
        """Where supervisord tells its story."""
        return self.logs / "supervisord.log"

    def instance_state(self, instance: str) -> Path:
        """The folder of one instance that must last."""
        return self.state / instance

    def instance_run(self, instance: str) -> Path:
        """The folder of one instance that may be lost."""
        return self.run / instance


def choose(loaded: Loaded, machine: Machine) -> Paths:
    """Return the folders to use. None of them need exist.

    The run folder is on tmpfs where one outlives the login, and under the state folder otherwise.
    """
    wanted = loaded.settings.paths
    own = SHARED_STATE if machine.shared_state else machine.state_home / NAME
    state = loaded.path(wanted.state) if wanted.state else own
    run = loaded.path(wanted.run) if wanted.run else _run(state, own, machine)
    return Paths(state, run, loaded.path(wanted.logs) if wanted.logs else state / "logs")


def _run(state: Path, own: Path, machine: Machine) -> Path:
    """Return the first run folder whose socket's path is short enough.

    A state folder chosen by the user keeps everything below itself; only a path too long for a socket
    sends the run folder elsewhere, under a name that no other state folder gets.
    """
    name = NAME if state == own else f"{NAME}-{hashlib.sha256(bytes(state)).hexdigest()[:8]}"
    tmpfs = [SHARED_RUN] if machine.root or machine.shared_run else []
    if machine.runtime_dir and machine.lingering:
        tmpfs.append(machine.runtime_dir / name)
    shorter = [own.with_name(name) / "run", machine.home / f".{name}"]
    if machine.runtime_dir:
        shorter.append(machine.runtime_dir / name)
    candidates = [*(tmpfs if state == own else []), state / "run", *shorter]
    return next((folder for folder in candidates if socket_fits(folder)), candidates[0])


def socket_fits(run: Path) -> bool:
    """Tell whether the socket in a run folder has a path that the kernel takes."""
    return len(bytes(run / "supervisor.sock")) <= LONGEST_SOCKET
