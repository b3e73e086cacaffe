"""``comfy-supervisor render``."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from .. import disk, plan, presence
from ..errors import UserError
from ..model import File
from ..plan import Plan
from ..render import reader
from ..settings import Loaded
from .common import warn, with_settings
from .locking import locked

FRAGMENT = "comfyui.conf"
OWN_MARKS = {"instances.json", "lock", "supervisord.pid"}
"""What shows that a folder is one of ours."""
OURS = re.compile(
    r"\..*|(gpu\d+|cpu|logs|run|output|incidents|lock|instances\.json|supervisord\.(conf|applied\.conf|pid)"
    r"|supervisor\.sock.*|comfyui\.conf|comfy-supervisor-bug\.log)"
)
"""What we leave in our folders."""


@click.command("render")
@click.option("-o", "--output", metavar="DIR", help="Where to write it. Default: the state folder.")
@click.option("--stdout", is_flag=True, help="Print it; write nothing.")
@click.option("--fragment", is_flag=True, help="Only the programs' sections, for another supervisord's conf.d.")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if something would change.")
@click.option("--diff", is_flag=True, help="Show what changes; with --check, or while writing it.")
@with_settings
def command(loaded: Loaded, output: str | None, stdout: bool, fragment: bool, check: bool, diff: bool) -> int:
    """It is proved before it is written: every flag with ComfyUI's own parser, every value with supervisord's.

    A running supervisord goes on as it is; comfy-supervisor apply takes the new file over.
    """
    if stdout and (output or check):
        raise UserError("--stdout writes nothing: it goes with neither --output nor --check")
    made = plan.make(loaded, fragment=fragment)
    for note in made.notes:
        warn(note)
    files = _files(made, output, fragment)
    if stdout:
        click.echo(files[-1].content, nl=False)
        return 0
    if diff:
        click.echo("".join(line for file in files for line in difference(file)), nl=False)
    if check:
        return _check(files)
    make_folders(made)
    with locked(made.paths):
        write_all(made, files)
    return 0


def _files(made: Plan, output: str | None, fragment: bool) -> tuple[File, ...]:
    """Return the files, the configuration where it was asked for."""
    *others, conf = made.files
    folder = Path.cwd() / Path(output).expanduser() if output else conf.path.parent
    return (*others, replace(conf, path=folder / (FRAGMENT if fragment else conf.path.name)))


def _check(files: Sequence[File]) -> int:
    changed = [file.path for file in files if disk.differs(file)]
    for path in changed:
        click.echo(f"would change: {path}")
    return int(bool(changed))


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
    return sys.prefix != sys.base_prefix and disk.link(Path(sys.prefix) / "etc" / "supervisord.conf", conf)


def difference(file: File) -> Iterator[str]:
    """Yield the lines of a unified diff from what is there to what would be."""
    before = (disk.current(file.path) or "").splitlines(keepends=True)
    after = file.content.splitlines(keepends=True)
    yield from difflib.unified_diff(before, after, str(file.path), f"{file.path} (new)")
