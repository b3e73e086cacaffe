"""A plan goes to the disk: its folders, its files, and the link for supervisorctl; one command of ours at a time."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from .. import disk, instances, plan, presence
from ..errors import UserError
from ..model import File
from ..plan import Plan
from ..render import reader
from .locking import locked

OWN_MARKS = {"instances.json", "lock", "supervisord.pid"}
"""What shows that a folder is one of ours."""
OURS = re.compile(
    r"\..*|(gpu\d+|cpu|logs|run|output|incidents|lock|notify|(instances|health|notify)\.json|extension\.yaml"
    r"|supervisord\.(conf|applied\.conf|pid)"
    r"|again-\w+\.json|supervisor\.sock.*|comfyui\.conf|comfy-supervisor-bug\.log)"
)
"""What we leave in our folders."""


@contextlib.contextmanager
def carried_out(made: Plan) -> Iterator[Plan]:
    """Hold the state folder's lock while a plan is carried out; yield it as it is to be. Raises UserError.

    A plan is made without the lock, which lies in a folder that one that is refused must not make. So whatever was
    remembered by somebody else meanwhile is heeded now: else two commands at once could give one port twice.
    """
    make_folders(made)
    with locked(made.paths):
        if _is_current(made):
            yield made
        else:
            anew = plan.compose(made.loaded, made.facts, fragment=made.configuration.fragment)
            make_folders(anew)
            yield anew


def _is_current(made: Plan) -> bool:
    """Tell whether the instances would be chosen alike from what is remembered now."""
    memory = plan.recalled(made.paths)
    return instances.choose(made.loaded.settings, made.facts.report, memory) == (made.instances, made.memory)


def write_all(made: Plan, files: Sequence[File]) -> None:
    """Write the files and say which changed; raises UserError, the old ones then as they were."""
    conf = files[-1].path
    _refuse_moved_socket(made, conf)
    disk.make_folder(conf.parent)
    changed = disk.write(files)
    for path in changed:
        click.echo(f"wrote {path}")
    if not changed:
        click.echo(f"unchanged: {conf}")
    if conf == made.paths.conf:
        link_for_supervisorctl(conf)


def _refuse_moved_socket(made: Plan, conf: Path) -> None:
    """Keep a running supervisord within reach: its socket is found through the file that would be replaced."""
    written = socket_of(conf) if conf == made.paths.conf else None
    if written is None or written == made.paths.socket:
        return
    pid = presence.running(written)
    if pid is not None:
        raise UserError(
            f"supervisord (pid {pid}) answers at {written}, and the settings now mean {made.paths.socket}; "
            f"stop it first: supervisorctl -s unix://{written} shutdown"
        )


def socket_of(conf: Path) -> Path | None:
    """Return the socket that a configuration names; None if there is none, or it is damaged."""
    if not conf.exists():
        return None
    try:
        written = reader.sections(conf).get("unix_http_server", {}).get("file", "")
    except UserError:
        return None
    return Path(written.replace("%%", "%")) if written else None


def make_folders(made: Plan) -> None:
    """Make every folder that supervisord and ComfyUI need, with its mode and owner; raises UserError."""
    _refuse_others_folder("paths.state", made.paths.state)
    _refuse_others_folder("paths.run", made.paths.run)
    for folder in made.folders:
        disk.make_folder(folder.path, folder.mode, folder.owner)


def _refuse_others_folder(key: str, folder: Path) -> None:
    """Refuse a folder that holds other things: it will be closed to everybody else."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except OSError:
        return  # not there yet, or making it says what is wrong
    strange = sorted(name for name in names if not OURS.fullmatch(name))
    if strange and not names & OWN_MARKS:
        raise UserError(f'{key} = "{folder}": holds other things ({strange[0]}); choose a folder of its own')


def link_for_supervisorctl(conf: Path) -> bool:
    """Let a bare ``supervisorctl`` of our virtual environment find the file, where it looks by itself."""
    return sys.prefix != sys.base_prefix and disk.link(for_supervisorctl(), conf)


def for_supervisorctl() -> Path:
    """Return where the ``supervisorctl`` of our virtual environment looks first: its options.py, ``searchpaths``."""
    return Path(sys.prefix) / "etc" / "supervisord.conf"
