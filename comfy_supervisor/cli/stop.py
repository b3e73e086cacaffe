"""``comfy-supervisor stop``."""

from __future__ import annotations

import click

from ..settings import Loaded
from . import service
from .common import with_usable_settings


@click.command("stop")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@with_usable_settings
def command(loaded: Loaded, names: tuple[str, ...]) -> None:
    """NAME: comfyui:gpu1 or gpu1; without one, all. supervisord goes on."""
    rendered = service.read(loaded)
    supervisor = service.supervisor(rendered)
    for instance in rendered.named(names):
        stopped = service.checked(supervisor.stop(instance.program, patience=service.STOP_PATIENCE))
        click.echo(f"{instance.program}: {'stopped' if stopped else 'was stopped already'}")
