"""``comfy-supervisor logs``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .. import following, presence
from ..errors import UserError
from ..programs import LISTENER
from ..rendered import Service
from ..settings import Loaded
from . import supervised
from .common import with_usable_settings


@click.command("logs")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is added, over rotations too; Ctrl-C ends it.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    help="How many lines from the end to begin with.",
)
@with_usable_settings
def command(loaded: Loaded, name: str | None, follow: bool, lines: int) -> None:
    """NAME: comfyui:gpu1 or gpu1; without one, ComfyUI's log (the first instance's).

    Or comfyui-health for the health listener's log, supervisord for supervisord's own.
    """
    service = supervised.read(loaded)
    file = _file(service, name)
    if not file.exists() and not follow:
        whose = name if name in (LISTENER, "supervisord") else "ComfyUI"
        raise UserError(f"{file}: not there yet: {whose} was never started; {presence.starts(service.conf)}")
    chunks = following.chunks(file, lines, follow=follow)
    for chunk in chunks if sys.stdout.isatty() else following.plain(chunks):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _file(rendered: Service, name: str | None) -> Path:
    """Return the log that is meant; raises UserError if there is none."""
    if name == "supervisord":
        return rendered.log
    if name == LISTENER:
        if rendered.health_log is None:
            raise UserError(f"{LISTENER}: is not rendered: health.watch = false leaves it out")
        return rendered.health_log
    return rendered.named([name] if name else [])[0].log
