"""``comfy-supervisor init``."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import click

from .. import disk, machine
from ..comfyui import find
from ..errors import UserError
from ..model import File
from ..settings import FILE_NAME, expanded, reference
from ..settings.load import named
from .common import with_config


@click.command("init")
@click.option(
    "-o", "--output", metavar="FILE", help="Where to write it; - prints it. Default: --config, or your config folder."
)
@click.option("--force", is_flag=True, help="Replace a file that is there; the old one is kept as FILE.old.")
@with_config
def command(config: str | None, output: str | None, force: bool) -> None:
    """Every key stands in it with its default and a line on what it is for; what was found is filled in.

    The file is found there without any option: in your config folder (root: /etc/comfy-supervisor).
    """
    if output == "-":
        click.echo(reference.example(_found()), nl=False)
        return
    path = Path.cwd() / expanded(output, "--output") if output else _default(config)
    there = _is_there(path)
    if there and not force:
        raise UserError(f"{path}: is there already; --force replaces it and keeps the old one as {path.name}.old")
    found = _found()
    if there:
        _keep(path)
    disk.make_folder(path.parent)
    disk.write([File(path, reference.example(found))])
    click.echo(f"Wrote {click.format_filename(path)}")
    click.echo("".join(f"  {key} = {value}\n" for key, value in found.items()), nl=False)
    click.echo("Next: comfy-supervisor doctor, then comfy-supervisor up")


def _found() -> dict[str, Any]:
    try:
        installation = find.find()
    except UserError as error:
        click.echo(f"No ComfyUI filled in: {error}", err=True)
        return {}
    if find.is_standin(installation.directory):  # $COMFYUI_DIR says so
        return {"comfyui.directory": find.STANDIN}
    values = {"comfyui.directory": str(installation.directory), "comfyui.python": str(installation.python)}
    for key, value in values.items():
        if not value.isprintable():  # neither are bytes that are no UTF-8; a settings file can hold neither
            click.echo(f"{key} isn't filled in: {value!a} has characters that can't be printed", err=True)
    return {key: value for key, value in values.items() if value.isprintable()}


def _default(config: str | None) -> Path:
    """Return the file that is named as the settings file, and else where it is found without any option."""
    if found := named(config, os.environ, Path.cwd()):
        return found[0]
    here = machine.look()
    if here.root:
        return Path("/etc/comfy-supervisor") / FILE_NAME
    return Path(os.environ.get("XDG_CONFIG_HOME") or here.home / ".config") / "comfy-supervisor" / FILE_NAME


def _is_there(path: Path) -> bool:
    """Tell whether a file is there; raises UserError if something else is, or it can't be told."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise disk.explained(path, error) from error
    if stat.S_ISDIR(mode):
        raise UserError(f"{path}: is a folder; name the file to write, such as {path / FILE_NAME}")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: is no plain file; name another, or - to print")
    return True


def _keep(path: Path) -> None:
    """Copy a file to FILE.old, whole or not at all: until the new one is written, the old one stays in its place."""
    old = path.with_name(f"{path.name}.old")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        shutil.copy2(path, temporary)
        temporary.replace(old)
    except OSError as error:
        raise disk.explained(old, error) from error
    finally:
        temporary.unlink(missing_ok=True)
