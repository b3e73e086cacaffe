"""Where the service is to run, as whom, and whether that can be."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from .. import __version__, machine, paths, plan
from ..errors import UserError
from ..model import Account, Installation, Machine
from ..service import Site, refuse_unsayable
from ..settings import Loaded
from . import service_folders, service_models
from .common import warn
from .service_models import Models

DEFAULT_ACCOUNT = "comfyui"
GPU_GROUPS = ("video", "render")
"""Whose members may use GPUs, where not everybody may; only those that there are are named."""


@dataclass(frozen=True)
class Runner:
    """Whom the service is to run as."""

    account: Account
    exists: bool
    """Whether there is such an account; of one that is to be created, only the name and the home are known."""


def runner(name: str, *, create: bool) -> Runner:
    """Return whom a name means; raises UserError if that is root, or nobody and not to be created."""
    try:
        found = machine.account(name)
    except UserError:
        if not create:
            mend = "--create-user creates it, --account names another"
            raise UserError(f"this machine has no account {name}; {mend}") from None
        return Runner(Account(name, -1, -1, Path("/var/lib") / name), exists=False)
    if found.uid == 0:
        raise UserError(f"--account {name}: the service never runs as root: anybody's custom node could do anything")
    return Runner(found, exists=True)


def created(wanted: Runner) -> Account:
    """Return an account, created if there is none; raises UserError if it can't be."""
    name = wanted.account.name
    if not wanted.exists:
        click.echo(f"create the account {name}", err=True)
        options = ("--system", "--create-home", "--home-dir", str(wanted.account.home), "--shell", "/usr/sbin/nologin")
        done = subprocess.run(["useradd", *options, name], capture_output=True, text=True, check=False)  # noqa: S607
        if done.returncode:
            raise UserError(f"useradd {name}: {done.stderr.strip()}")
    return machine.account(name)


def models(loaded: Loaded, installation: Installation, runner: Runner | None) -> Models:
    """Return the folders of models elsewhere; none for a user's own, which is not confined to any folders."""
    return service_models.look(loaded, installation, runner.account, exists=runner.exists) if runner else Models()


def choose(loaded: Loaded, installation: Installation, runner: Runner | None, elsewhere: Models | None = None) -> Site:
    """Return where the service will run, as that account sees the machine; None: a user's own, as that user does.

    ``elsewhere`` is where models are beside ComfyUI's folder. Raises UserError if it would have to write to what is the
    system's.
    """
    elsewhere = elsewhere or Models()
    account = runner.account if runner else None
    here = _seen_by(account) if account else machine.look()
    places = paths.choose(loaded, here)
    settings = loaded.settings
    home = service_folders.own_home(runner.account, exists=runner.exists) if runner else [here.home]
    written = [*service_folders.written(loaded, installation.directory, account), *elsewhere.own, places.logs, *home]
    read = [*_read(loaded, installation), *elsewhere.files, *elsewhere.others]
    needed = [*written, *read, *(path.resolve() for path in read)]  # of a link, both ends
    if account:
        _tell_homes(needed, account)
    return Site(
        version=__version__,
        command=(sys.executable, plan.isolation()),
        config=str(loaded.file) if loaded.file else "",
        state=places.state,
        run=places.run,
        account=account.name if account else "",
        groups=tuple(_groups()) if account else (),
        writable=tuple(path for path in service_folders.outermost(written) if not path.is_relative_to(places.state)),
        read_only_homes=any(map(service_folders.in_homes, needed)),
        stop_seconds=settings.restart.stop_seconds,
        memory_high=int(settings.service.memory_high),
        oom_policy=settings.service.oom_policy,
    )


def _tell_homes(needed: Sequence[Path], account: Account) -> None:
    """Say what opens the homes to be read: links and files of ComfyUI's, which custom nodes may write, may do that.

    Raises UserError for a name that can't be said.
    """
    apart = [path for path in needed if service_folders.in_homes(path) and not path.is_relative_to(account.home)]
    for path in apart:
        refuse_unsayable(str(path))
    if apart:
        which = ", ".join(map(str, service_folders.outermost(apart)))
        warn(f"the service sees /home and /root, otherwise hidden, because of {which}")


def refuse_hidden(loaded: Loaded, installation: Installation, site: Site, elsewhere: Models) -> None:
    """Refuse what lies where the service has a folder of its own: it would not see it, and leave nothing there."""
    read = [*_read(loaded, installation), *elsewhere.files, *elsewhere.others]
    needed = [*read, site.state, site.run, *site.writable]
    hidden = [(path, tmp) for path in needed for tmp in service_folders.TMP if tmp in _ways(path)]
    if hidden:
        raise UserError(*(f"{path}: the service has a {tmp} of its own, without it; move it" for path, tmp in hidden))


def _ways(path: Path) -> set[Path]:
    """Return the folders on the way to a path, and to what it leads to, with itself."""
    return {each for end in (path, path.resolve()) for each in (end, *end.parents)}


def refuse_out_of_reach(loaded: Loaded, installation: Installation, account: Account, elsewhere: Models) -> None:
    """Refuse an account that could not run it: systemd would only say so in the journal.

    Nor may a link in ComfyUI's folder open the homes to it for what it can't reach there.
    """
    links = filter(service_folders.in_homes, service_folders.linked(loaded, installation.directory))
    beyond = machine.out_of_reach(account, [*_read(loaded, installation), *elsewhere.files, *links])
    if beyond:
        raise UserError(
            *(f"{account.name} has no way to {path}: open it, and the folders above, to others" for path in beyond)
        )


def refuse_a_former_services_folders(loaded: Loaded, conf_d: Path) -> None:
    """Refuse folders of an account that can't write into another supervisord's conf.d: of a service that was here.

    As that account nothing would come of it; as root, what the account has put there would be believed.
    """
    if os.geteuid():
        return
    places = paths.choose(loaded, machine.look())
    there = next(path for path in (conf_d, *conf_d.parents) if path.exists())
    theirs = [
        path for path in (places.state, places.run) if path.exists() and _can_not_write(path.stat().st_uid, there)
    ]
    if theirs:
        which = shlex.join(map(str, theirs))
        mend = f"comfy-supervisor service uninstall, if that is still there; then: sudo chown -R root {which}"
        raise UserError(*(f"{path}: is another account's, which can't write into {there}; {mend}" for path in theirs))


def _can_not_write(uid: int, folder: Path) -> bool:
    try:
        account = machine.account(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return True
    return uid != 0 and machine.ask_as(account, '[ -w "$1" ]', str(folder))[0] != 0


def _read(loaded: Loaded, installation: Installation) -> list[Path]:
    """Return what the service must be able to read."""
    return [*plan.read_by_comfyui(installation), *([loaded.file] if loaded.file else [])]


def _seen_by(account: Account) -> Machine:
    """Return this machine as the service will see it, whose folders systemd makes."""
    return replace(
        machine.look(),
        me=account,
        home=account.home,
        state_home=account.home / ".local" / "state",
        runtime_dir=None,
        lingering=False,
        shared_state=True,
        shared_run=True,
    )


def _groups() -> Iterator[str]:
    for name in GPU_GROUPS:
        try:
            yield grp.getgrnam(name).gr_name
        except KeyError:
            continue
