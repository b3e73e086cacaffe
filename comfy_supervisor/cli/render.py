"""``comfy-supervisor render``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from .. import disk, plan
from ..errors import UserError
from ..model import File
from ..plan import Plan
from ..settings import Loaded, expanded
from .common import tell_notes, with_settings
from .writing import carried_out, write_all

FRAGMENT = "comfyui.conf"


@click.command("render")
@click.option("-o", "--output", metavar="DIR", help="Where to write it. Default: the state folder.")
@click.option("--stdout", is_flag=True, help="Print it; write nothing.")
@click.option("--fragment", is_flag=True, help="Only the programs' sections, for another supervisord's conf.d.")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if something would change.")
@click.option("--diff", is_flag=True, help="Show what changes; with --check, or while writing it.")
@with_settings
def command(loaded: Loaded, output: str | None, stdout: bool, fragment: bool, check: bool, diff: bool) -> int:
    """Every flag is proved with ComfyUI's own parser, every value with supervisord's.

    A running supervisord goes on as it is; comfy-supervisor apply takes the new file over. A running health listener
    takes its limits over at once. Only to look: --check --diff.
    """
    if stdout and (output or check or diff):
        raise UserError("--stdout writes nothing: it goes with none of --output, --check and --diff")
    folder = Path.cwd() / expanded(output, "--output") if output else None
    made = plan.make(loaded, fragment=fragment)
    tell_notes(made)
    if stdout:
        click.echo(made.files[-1].content, nl=False)
        return 0
    if check:
        files = _files(made, folder)
        _show(files, diff)
        return _check(files)
    with carried_out(made) as now:
        files = _files(now, folder)
        _show(files, diff)
        write_all(now, files)
    return 0


def _files(made: Plan, folder: Path | None) -> tuple[File, ...]:
    """Return the files, the configuration where it was asked for."""
    *others, conf = made.files
    name = FRAGMENT if made.configuration.fragment else conf.path.name
    return (*others, replace(conf, path=(folder or conf.path.parent) / name))


def _show(files: Iterable[File], diff: bool) -> None:
    if diff:
        click.echo("".join(line for file in files for line in difference(file)), nl=False)


def _check(files: Sequence[File]) -> int:
    changed = [file.path for file in files if disk.differs(file)]
    for path in changed:
        click.echo(f"would change: {path}")
    return int(bool(changed))


def difference(file: File) -> Iterator[str]:
    """Yield the lines of a unified diff from what is there to what would be, after its mode where that changes."""
    mode = disk.mode(file.path)
    if mode not in (None, file.mode):
        yield f"{file.path}: mode {mode:o} → {file.mode:o}\n"
    before = (disk.current(file.path) or "").splitlines(keepends=True)
    after = file.content.splitlines(keepends=True)
    yield from difflib.unified_diff(before, after, str(file.path), f"{file.path} (new)")
