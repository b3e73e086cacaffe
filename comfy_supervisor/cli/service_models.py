"""The folders of models elsewhere: the service reads them, and writes to those that are its account's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
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


def look(loaded: Loaded, installation: Installation, account: Account, *, exists: bool) -> Models:
    """Return those that are there, as an account of this machine, or one that is to be created, will see them."""
    files = model_paths.files(installation.directory, loaded.settings.comfyui.extra_args)
    named = model_paths.folders(installation, files, _reader(account, exists=exists))
    led = [Path(os.path.realpath(path)) for path in named if _is_there(path)]
    there = {path: path.stat().st_uid for path in led if can_be_said(str(path))}
    own = {path for path, uid in there.items() if uid == account.uid and not service_folders.is_systems(path)}
    return Models(tuple(files), tuple(sorted(own)), tuple(sorted(there.keys() - own)))


def tell_read_only(models: Models, written: Sequence[Path], name: str) -> None:
    """Say which of them ComfyUI can't write to, and how that is changed."""
    apart = [path for path in models.others if not any(path.is_relative_to(each) for each in written)]
    if apart:
        which = ", ".join(map(str, service_folders.outermost(apart)))
        mend = f"to have nodes download there, give it to {name}, or name it in service.writable"
        warn(f"models that ComfyUI only reads, being others': {which}; {mend}")


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
