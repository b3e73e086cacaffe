"""``comfy-supervisor start``."""

from __future__ import annotations

import click

from ..settings import Loaded
from . import service
from .common import with_usable_settings


@click.command("start")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@with_usable_settings
def command(loaded: Loaded, names: tuple[str, ...]) -> None:
    """NAME: comfyui:gpu1 or gpu1; without one, all. Lifts a hold and ends a backoff."""
    rendered = service.read(loaded)
    supervisor = service.supervisor(rendered)
    for instance in rendered.named(names):
        service.forget_holds(instance)
        started = service.checked(supervisor.start(instance.program))
        click.echo(f"{instance.program}: {'started' if started else 'runs already'}")
