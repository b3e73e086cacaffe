"""What the rest needs to know of this machine and of who runs us; asked once, at the edge."""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

from .errors import UserError
from .model import SHARED_RUN, SHARED_STATE, Account, Machine

SYSTEM_UNITS = Path("/etc/systemd/system")
"""Where systemd's units lie that are this machine's own (systemd.unit(5))."""
LINGER = Path("/var/lib/systemd/linger")
"""Has a file for each user whose systemd runs from boot on (systemd-logind.service(8))."""


def look(environ: dict[str, str] | None = None) -> Machine:
    """Return this machine as it is seen with an environment (default: ours)."""
    env = os.environ if environ is None else environ
    me = _me()
    home = Path(env.get("HOME") or me.home)
    lingering = (LINGER / me.name).exists()
    runtime = env.get("XDG_RUNTIME_DIR") or (str(own_runtime()) if lingering else "")
    return Machine(
        me=me,
        home=home,
        state_home=Path(env.get("XDG_STATE_HOME") or home / ".local" / "state"),
        runtime_dir=Path(runtime) if runtime and Path(runtime).is_dir() else None,
        lingering=lingering,
        shared_state=me.uid == 0 or os.access(SHARED_STATE, os.W_OK | os.X_OK),
        shared_run=os.access(SHARED_RUN, os.W_OK | os.X_OK),
        hard_fd_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    )


def own_runtime() -> Path:
    """Return what XDG_RUNTIME_DIR is where somebody has logged in (pam_systemd(8)); it need not be there.

    Cron and ``sudo -u`` set no such variable, but what they call must find the same folder.
    """
    return Path("/run/user") / str(os.geteuid())


def unit_folder(*, user: bool) -> Path:
    """Return where the units of this machine's own lie, or those of whoever runs us (systemd.unit(5))."""
    if not user:
        return SYSTEM_UNITS
    return Path(os.environ.get("XDG_CONFIG_HOME") or look().home / ".config") / "systemd" / "user"


def account(name: str) -> Account:
    """Return an account of this machine; raises UserError if there is none of that name."""
    try:
        return _account(pwd.getpwnam(name))
    except KeyError as error:
        raise UserError(
            f'comfyui.user = "{name}": this machine has no such account; '
            f"create it (useradd --system --create-home {name}) or name another"
        ) from error


def become(uid: int) -> None:
    """Go on as another account, for good; only root may. One that has no name keeps root's groups from it, too."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        os.setgroups([])
        os.setgid(uid)
    else:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.environ.update(HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)
    os.setuid(uid)
    for name in ("XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        os.environ.pop(name, None)


_WITHIN_REACH = 'if [ -d "$path" ]; then [ -x "$path" ]; else [ -r "$path" ]; fi'


def out_of_reach(account: Account, wanted: Iterable[Path]) -> list[str]:
    """Return which files another account can't read, and which folders it can't pass; only root may ask.

    The kernel is asked, by a process of that account: access lists and mounts count as the mode and the owner do.
    """
    return failing(account, _WITHIN_REACH, wanted)


def failing(account: Account, test: str, paths: Iterable[Path]) -> list[str]:
    """Return for which paths a test of the shell's, about ``$path``, fails as another account; only root may ask.

    The answer is a digit for each path, and no path is read back: names may have anything in them, a line's end too.
    """
    asked = [str(path) for path in paths]
    _, said = ask_as(account, f"for path; do if {test}; then printf 1; else printf 0; fi; done", *asked)
    return [path for path, passed in zip_longest(asked, said, fillvalue="0") if passed == "0"]


def ask_as(account: Account, script: str, *arguments: str) -> tuple[int, str]:
    """Have a shell of another account execute a script; return its exit code and output. Only root may."""
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *arguments],
        user=account.uid,
        group=account.gid,
        extra_groups=os.getgrouplist(account.name, account.gid),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def _me() -> Account:
    uid = os.geteuid()
    try:
        return _account(pwd.getpwuid(uid))
    except KeyError:  # in a container, started with a number that has no account
        return Account(str(uid), uid, os.getegid(), Path(os.environ.get("HOME", "/")))


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))
