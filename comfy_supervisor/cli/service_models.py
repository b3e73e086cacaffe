"""The folders of models elsewhere: the service reads them, and writes to those that are its account's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import machine
from ..comfyui import model_paths
from ..model import Account, Installation
from ..service import can_be_said
from ..settings import Loaded
from . import service_folders
from .common import warn


@dataclass(frozen=True)
class Models:
    """What ComfyUI's files of further folders come to, each by the path that systemd will see."""

    files: tuple[Path, ...] = ()
    own: tuple[Path, ...] = ()
    """The account's, into which its nodes download."""
    others: tuple[Path, ...] = ()
    """Somebody else's, which it only reads."""
    left_out: Mapping[Path, str] = field(default_factory=dict)
    """Those of which nothing is made for the service, each with the reason: a custom node may have named them."""


def look(loaded: Loaded, installation: Installation, account: Account, *, exists: bool) -> Models:
    """Return those that are there, as an account of this machine, or one that is to be created, will see them."""
    files = model_paths.files(installation.directory, loaded.settings.comfyui.extra_args)
    named = model_paths.folders(installation, files, _reader(account, exists=exists))
    led = [Path(os.path.realpath(path)) for path in named if _is_there(path)]
    there = {path for path in led if can_be_said(str(path))}
    left_out = dict(_left_out(sorted(there), account, exists=exists))
    taken = there - left_out.keys()
    own = {path for path in taken if path.stat().st_uid == account.uid}
    return Models(tuple(files), tuple(sorted(own)), tuple(sorted(taken - own)), left_out)


def tell(models: Models, written: Sequence[Path], name: str) -> None:
    """Say which of them are left out, and which ComfyUI can't write to, and how that is changed."""
    for path, why in models.left_out.items():
        warn(f"{path}: named as a folder of models, and nothing is done for it: {why}")
    apart = [path for path in models.others if not any(path.is_relative_to(each) for each in written)]
    if apart:
        which = ", ".join(map(str, service_folders.outermost(apart)))
        mend = f"to have nodes download there, give it to {name}, or name it in service.writable"
        warn(f"models that ComfyUI only reads, being others': {which}; {mend}")


def _left_out(paths: Sequence[Path], account: Account, *, exists: bool) -> Iterator[tuple[Path, str]]:
    """Yield those that neither open homes to the service nor are given to it, with the reasons."""
    homes = service_folders.whole_homes(paths, account)
    closed = _unreadable(filter(service_folders.in_homes, paths), account, exists=exists)
    for path in paths:
        tmp = next((tmp for tmp in service_folders.TMP if path.is_relative_to(tmp)), None)
        if tmp:
            yield path, f"the service has a {tmp} of its own, without it"
        elif service_folders.is_systems(path):
            yield path, "it is the system's"
        elif path in homes:
            yield path, "it is a whole home; name a folder in it"
        elif path in closed:
            yield path, f"{account.name} can't read it"


def _unreadable(paths: Iterable[Path], account: Account, *, exists: bool) -> set[Path]:
    """Return which folders an account can't read; empty where we are not root, and can't tell."""
    reader = _reader(account, exists=exists)
    wanted = '[ -r "$path" ] && [ -x "$path" ]'
    return set(map(Path, machine.failing(reader, wanted, paths))) if reader else set()


def _reader(account: Account, *, exists: bool) -> Account | None:
    """Return as whom to have ComfyUI's interpreter run: never as root. None: as ourselves."""
    if os.geteuid():
        return None
    return account if exists else replace(machine.account("nobody"), home=account.home)


def _is_there(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
