"""The folders that are written to: that they can be, and that there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import launch
from ..errors import UserError
from ..model import Account, Installation, Invocation
from . import finding
from .finding import Finding
from .patient import Patient

LITTLE = 5 * 1024**3
"""Bytes below which a disk is soon full: one video model's intermediate files, or an hour of generated images."""
TOO_LITTLE = 200 * 1024**2
"""Bytes below which logs and images fail to be written any moment."""

_TESTS = """while [ $# -gt 0 ]; do [ "-$1" "$2" ] || printf '%s\\0' "$2"; shift 2; done"""


@dataclass(frozen=True)
class Folder:
    """A folder that somebody must be able to write to."""

    name: str
    path: Path
    mend: str
    writer: Account | None = None
    """None: whoever runs supervisord."""
    needed: bool = True


def folders(patient: Patient) -> Iterator[Finding]:
    """Tell which folders can't be written to by those who will."""
    wanted = list(_wanted(patient))
    bad = set()
    for writer in dict.fromkeys(folder.writer for folder in wanted):
        mine = {nearest(folder.path): folder for folder in wanted if folder.writer == writer}
        refused = denied([(test, path) for path in mine for test in ("d", "w", "x")], writer)
        bad |= {folder for folder in wanted if folder.writer == writer and nearest(folder.path) in refused}
    for folder in wanted:
        if folder in bad:
            yield _unwritable(folder)
    good = dict.fromkeys(f"{folder.name} {folder.path}" for folder in wanted if folder not in bad)
    if good:
        yield finding.ok("folder", f"writable: {', '.join(good)}", "writable")


def readable(patient: Patient) -> Iterator[Finding]:
    """Tell whether the account that runs ComfyUI can get at all that is needed to run it."""
    account = patient.account
    if account is None:
        return
    tests = list(_needed_to_run(patient))
    refused = denied(tests, account)
    mend = f"move it where {account.name} may go, or give that account access to every folder above it"
    for path in dict.fromkeys(path for _, path in tests if path in refused):
        yield finding.problem("access", f"{path}: {account.name} has no access", "accessible to comfyui.user", mend)
    if not refused:
        yield finding.ok("access", f"{account.name} can get at ComfyUI, our launcher and its folders")


def _needed_to_run(patient: Patient) -> Iterator[tuple[str, Path]]:
    """Yield what ComfyUI's account must have access to, as tests of the shell's."""
    installation, places = patient.installed_here, patient.places
    if installation:
        yield "r", installation.directory / "main.py"
        yield "x", installation.python
    yield "x", Path(sys.executable)  # the launcher runs as that account, too
    yield "r", Path(launch.__file__)
    yield "x", nearest(places.state.parent)
    if not places.run.is_relative_to(places.state):
        yield "x", nearest(places.run.parent)


def disk(patient: Patient) -> Iterator[Finding]:
    """Tell how much room there is on each file system that is written to."""
    devices: dict[int, list[Folder]] = {}
    for folder in _wanted(patient):
        place = nearest(folder.path)
        if folder.needed and place.exists():
            devices.setdefault(place.stat().st_dev, []).append(folder)
    for sharing in devices.values():
        usage = os.statvfs(nearest(sharing[0].path))
        names = ", ".join(dict.fromkeys(folder.name for folder in sharing))
        yield room(usage.f_bavail * usage.f_frsize, f"{sharing[0].path} ({names})")


def room(free: int, place: str) -> Finding:
    """Judge the free bytes of a file system."""
    size = f"{free / 1024**3:.1f} GiB" if free >= 1024**3 else f"{free / 1024**2:.0f} MiB"
    found, mend = f"{size} free at {place}", "free some space, or move it to a larger disk (paths.* in the settings)"
    if free < TOO_LITTLE:
        return finding.problem("disk", found, "5 GiB or more", mend)
    if free < LITTLE:
        return finding.warning("disk", found, "5 GiB or more", mend)
    return finding.ok("disk", found, "5 GiB or more")


def nearest(path: Path) -> Path:
    """Return the path, or the lowest folder above it that exists."""
    return next((each for each in (path, *path.parents) if os.path.lexists(each)), Path("/"))


def denied(tests: Sequence[tuple[str, Path]], account: Account | None) -> set[Path]:
    """Return the paths for which one of the shell's tests (``d``, ``r``, ``w``, ``x``) fails for an account.

    The kernel itself is asked, in a process of that account: access lists and read-only file systems count.
    Only root may ask for another one. Raises UserError.
    """
    arguments = [text for test, path in tests for text in (test, str(path))]
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", _TESTS, "sh", *arguments],
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=os.getgrouplist(account.name, account.gid) if account else None,
            cwd="/",
            stdout=subprocess.PIPE,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"access to folders can't be tested: {error}") from error
    return {Path(os.fsdecode(path)) for path in done.stdout.split(b"\0") if path}


def _unwritable(folder: Folder) -> Finding:
    who = folder.writer.name if folder.writer else "this account"
    found = f"{folder.path} ({folder.name}): {_obstacle(nearest(folder.path)) or f'not writable for {who}'}"
    state = finding.problem if folder.needed else finding.warning
    return state("folder", found, "a writable folder", folder.mend)


def _obstacle(path: Path) -> str:
    """Return what is in a folder's place; empty if it is one."""
    if not path.exists():
        return f"{path} is a link to nowhere (a disk that isn't mounted?)"
    return "" if path.is_dir() else f"{path} is no folder"


def _wanted(patient: Patient) -> Iterable[Folder]:
    """Return the folders, each once."""
    return dict.fromkeys((*_ours(patient), *_of_comfyui(patient)))


def _ours(patient: Patient) -> Iterator[Folder]:
    places = patient.places
    for name, path in (("state", places.state), ("run", places.run), ("logs", places.logs)):
        yield Folder(name, path, f"give it to this account, or set paths.{name}")
    made = patient.known_plan
    for folder in made.folders if made else ():
        if folder.owner and folder.path.exists():
            yield Folder("instance", folder.path, f"chown {folder.owner.name} {folder.path}", folder.owner)


def _of_comfyui(patient: Patient) -> Iterator[Folder]:
    installation, made, account = patient.installed_here, patient.known_plan, patient.account
    if not (installation and made):
        return
    mend = f"give it to {account.name if account else 'this account'}, or choose another in comfyui.extra_args"
    to_be_given = {folder.path for folder in made.folders if folder.owner}
    for invocation in made.invocations:
        for name, path in comfyui_folders(installation, invocation).items():
            if path.exists() or to_be_given.isdisjoint((path, *path.parents)):
                yield Folder(name, path, mend, account, needed=name != "input")


def comfyui_folders(installation: Installation, invocation: Invocation) -> dict[str, Path]:
    """Return the folders that ComfyUI writes to, by its options (folder_paths.py and main.py of ComfyUI).

    Relative ones are taken from its own folder, where it is started. ``temp`` stands inside of what is given for it.
    """
    given = {flag.option: flag.values[0] for flag in invocation.flags if flag.values}
    own = installation.directory
    base = own / given.get("--base-directory", "")
    folders = {name: own / given.get(f"--{name}-directory", base / name) for name in ("output", "user", "input")}
    return {**folders, "temp": own / given.get("--temp-directory", base) / "temp"}
