"""``comfy-supervisor init``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .. import disk, machine
from ..comfyui import find
from ..errors import UserError
from ..model import File
from ..settings import FILE_NAME, reference


@click.command("init")
@click.option("-o", "--output", metavar="FILE", help="Where to write it; - prints it. Default: your config folder.")
@click.option("--force", is_flag=True, help="Replace a file that is there; the old one is kept as FILE.old.")
def command(output: str | None, force: bool) -> None:
    """Every key stands in it with its default and a line on what it is for; what was found is filled in.

    The file is found there without any option: in your config folder (root: /etc/comfy-supervisor).
    """
    found = _found()
    content = reference.example(found)
    if output == "-":
        click.echo(content, nl=False)
        return
    path = Path.cwd() / Path(output).expanduser() if output else _default()
    if path.exists():
        _keep(path, force)
    disk.make_folder(path.parent)
    disk.write([File(path, content)])
    click.echo(f"Wrote {path}")
    click.echo("".join(f"  {key} = {value}\n" for key, value in found.items()), nl=False)
    click.echo("Next: comfy-supervisor doctor, then comfy-supervisor up")


def _found() -> dict[str, Any]:
    try:
        installation = find.find()
    except UserError as error:
        click.echo(f"No ComfyUI filled in: {error}", err=True)
        return {}
    return {"comfyui.directory": str(installation.directory), "comfyui.python": str(installation.python)}


def _default() -> Path:
    here = machine.look()
    if here.root:
        return Path("/etc/comfy-supervisor") / FILE_NAME
    return Path(os.environ.get("XDG_CONFIG_HOME") or here.home / ".config") / "comfy-supervisor" / FILE_NAME


def _keep(path: Path, force: bool) -> None:
    if not force:
        raise UserError(f"{path}: is there already; --force replaces it and keeps the old one as {path.name}.old")
    try:
        path.replace(path.with_name(f"{path.name}.old"))
    except OSError as error:
        raise disk.explained(path, error) from error
