"""``comfy-supervisor reset``."""

from __future__ import annotations

import click

from ..settings import Loaded
from . import supervised
from .common import with_usable_settings


@click.command("reset")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@with_usable_settings
def command(loaded: Loaded, names: tuple[str, ...]) -> None:
    """Lifts a hold, ends a backoff, and fills the budget of restarts again. What somebody stopped stays stopped.

    NAME: comfyui:gpu1 or gpu1; without one, all.
    """
    found = supervised.read(loaded)
    for instance in found.named(names):
        supervised.forget_holds(instance)
        click.echo(f"{instance.program}: nothing is counted against it any more")
    supervised.tell_if_down(found)
