"""What the rest needs to know of this machine and of who runs us; asked once, at the edge."""

from __future__ import annotations

import os
import pwd
import resource
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError

LINGER = Path("/var/lib/systemd/linger")


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

    @property
    def root(self) -> bool:
        """Whether we run as root."""
        return self.me.uid == 0


SHARED_STATE = Path("/var/lib/comfy-supervisor")
SHARED_RUN = Path("/run/comfy-supervisor")


def look(environ: dict[str, str] | None = None) -> Machine:
    """Return this machine as it is seen with an environment (default: ours)."""
    env = os.environ if environ is None else environ
    me = _me()
    home = Path(env.get("HOME") or me.home)
    runtime = env.get("XDG_RUNTIME_DIR")
    return Machine(
        me=me,
        home=home,
        state_home=Path(env.get("XDG_STATE_HOME") or home / ".local" / "state"),
        runtime_dir=Path(runtime) if runtime and Path(runtime).is_dir() else None,
        lingering=(LINGER / me.name).exists(),
        shared_state=me.uid == 0 or os.access(SHARED_STATE, os.W_OK | os.X_OK),
        hard_fd_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    )


def account(name: str) -> Account:
    """Return an account of this machine; raises UserError if there is none of that name."""
    try:
        return _account(pwd.getpwnam(name))
    except KeyError as error:
        raise UserError(
            f'comfyui.user = "{name}": this machine has no such account; '
            f"create it (useradd --system --create-home {name}) or name another"
        ) from error


def _me() -> Account:
    uid = os.geteuid()
    try:
        return _account(pwd.getpwuid(uid))
    except KeyError:  # in a container, started with a number that has no account
        return Account(str(uid), uid, os.getegid(), Path(os.environ.get("HOME", "/")))


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))
