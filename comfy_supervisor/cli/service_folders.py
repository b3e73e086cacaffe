"""The folders beside ours that the service writes to: by the settings, by ComfyUI's options and by its links."""

from __future__ import annotations

import os
import pwd
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from .. import disk, machine
from ..comfyui import find
from ..errors import UserError
from ..model import Account
from ..service import Site, refuse_unsayable
from ..settings import Loaded
from .common import warn

OPTIONS = ("base-directory", "database-url", "input-directory", "output-directory", "temp-directory", "user-directory")
"""Of ComfyUI's options (``comfy/cli_args.py``), those by which it writes elsewhere than in its own folder."""
INNER = ("custom_nodes", "input", "models", "output", "temp", "user")
"""The folders in ComfyUI's that it writes to, any of which may be a link (its ``folder_paths.py``)."""
FULL_OF_LINKS = ("custom_nodes", "models")
"""Of these, the ones in which single folders are links, too."""
SYSTEMS = tuple(map(Path, ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")))
HOMES = (Path("/home"), Path("/root"))
"""What ProtectHome= hides; all of it is seen if any of it is."""
SYSTEMS_THEMSELVES = {*HOMES, *map(Path, ("/", "/opt", "/run", "/srv", "/var", "/var/lib"))}
TMP = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  # not used, but refused
"""Where the service has folders of its own (PrivateTmp=), without what is there."""


def written(loaded: Loaded, comfyui: Path, account: Account | None = None) -> list[Path]:
    """Return what ComfyUI writes to outside of our folders, by the paths that systemd will see.

    Raises UserError for what is the system's; and since custom nodes choose where links lead, for names that no unit
    can hold, and for the whole of a home that is not that of the ``account``, if one is given.
    """
    given = _given(loaded.settings.comfyui.extra_args, comfyui)
    links = linked(loaded, comfyui)
    found = [] if find.is_standin(comfyui) else [comfyui, *links]
    found += given.values()
    if loaded.settings.paths.output:
        found.append(loaded.path(loaded.settings.paths.output))
    found += (loaded.path(each) for each in loaded.settings.service.writable)
    for path in found:
        refuse_unsayable(str(path))
        if is_systems(path):
            raise UserError(f"{path}: belongs to the system, and ComfyUI would write there; choose another folder")
    if account and (homes := whole_homes(links, account)):
        whose = f"a home, not {account.name}'s"
        raise UserError(*(f"{path}: is {whose}, and a link in ComfyUI's folder leads there; end it" for path in homes))
    return found


def linked(loaded: Loaded, comfyui: Path) -> list[Path]:
    """Return where the links in ComfyUI's folder lead, as far as that is somewhere else."""
    base = _given(loaded.settings.comfyui.extra_args, comfyui).get("base-directory", comfyui)
    return [] if find.is_standin(comfyui) else list(_links(base))


def own_home(account: Account, *, exists: bool) -> Iterator[Path]:
    """Yield an account's home, if it is its own: /usr/sbin is that of ``daemon``, and nobody's to write to."""
    home = account.home
    if not exists or (home.exists() and home.stat().st_uid == account.uid and not is_systems(home)):
        yield home
    else:
        why = f"{home} is not its own" if home.exists() else f"{home} is not there"
        warn(f"{account.name} has no home for the caches of models, pip and triton: {why}")


def outermost(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield those that lie in none of the others, each once."""
    for path in dict.fromkeys(paths):
        if not any(path != other and path.is_relative_to(other) for other in paths):
            yield path


def make(loaded: Loaded, site: Site, account: Account) -> None:
    """Make for the account what only the settings name: confined, it can't. Raises UserError.

    systemd makes what lies in /var/lib and /run. Says what is missing, or not the account's to write to.
    """
    chosen = loaded.settings.paths
    if chosen.state and not site.state_directory:
        disk.make_folder(site.state, 0o700, account)
    if chosen.run and not site.runtime_directory:
        disk.make_folder(site.run, 0o700, account)
    for folder in (chosen.logs, chosen.output):
        if folder:
            disk.make_folder(loaded.path(folder), None, account)
    for path in machine.failing(account, '[ -w "$path" ]', site.writable):
        how = "chown -R" if Path(path).exists() else "install -d -o"
        mend = f"sudo {how} {account.name} {shlex.quote(path)}"  # a name that somebody else chose
        warn(f"{path}: {account.name} can't write there; {mend}")


def _given(arguments: Sequence[str], comfyui: Path) -> Mapping[str, Path]:
    """Return the folder behind each of these options among the user's own, abbreviated or not."""
    found = {}
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, equals, value = argument.partition("=")
        option = next((each for each in OPTIONS if len(name) > len("--") and f"--{each}".startswith(name)), "")
        folder = _folder(option, value if equals else following) if option else ""
        if folder:
            found[option] = Path(os.path.normpath(comfyui / folder))
    return found


def _folder(option: str, value: str) -> str:
    """Return the folder that an option's value means; empty for a database that is no file."""
    if option != "database-url":
        return value
    file = re.fullmatch(r"sqlite:///(.+)", value)
    return str(Path(file[1]).parent) if file else ""


def _links(base: Path) -> Iterator[Path]:
    """Yield where ComfyUI's folders lead, as far as that is somewhere else."""
    inner = [base / name for name in INNER]
    for name in FULL_OF_LINKS:
        if (base / name).is_dir():
            inner += sorted(entry for entry in (base / name).iterdir() if entry.is_symlink() and entry.is_dir())
    for path in inner:
        led = Path(os.path.realpath(path))
        if not led.is_relative_to(os.path.realpath(base)):
            yield led


def whole_homes(paths: Iterable[Path], account: Account) -> list[Path]:
    """Return which folders are another's whole home, or where homes are; of paths as systemd will see them."""
    own = Path(os.path.realpath(account.home))
    listed = {Path(os.path.realpath(entry.pw_dir)) for entry in pwd.getpwall() if entry.pw_dir}
    return [path for path in paths if path != own and (path in HOMES or path in listed or _is_its_owners_home(path))]


def _is_its_owners_home(path: Path) -> bool:
    """Tell whether it is the home of whom it belongs to: a directory service may list nobody, and know each."""
    try:
        return Path(os.path.realpath(pwd.getpwuid(path.stat().st_uid).pw_dir)) == path
    except (OSError, KeyError):
        return False


def in_homes(path: Path) -> bool:
    """Tell whether ProtectHome= would hide a path."""
    return any(path.is_relative_to(each) for each in HOMES)


def is_systems(path: Path) -> bool:
    """Tell whether a folder is one of the system's, or full of them."""
    led = Path(os.path.realpath(path))
    local = led.is_relative_to("/usr/local") and led != Path("/usr/local")
    return led in SYSTEMS_THEMSELVES or (not local and any(led.is_relative_to(each) for each in SYSTEMS))
