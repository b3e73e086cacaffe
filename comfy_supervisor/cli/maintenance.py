"""``comfy-supervisor maintenance``."""

from __future__ import annotations

import time

import click

from ..disk import explained
from ..health import orders
from ..settings import Loaded
from . import supervised
from .common import with_usable_settings


@click.command("maintenance")
@click.argument("wanted", type=click.Choice(["on", "off"]), metavar="on|off")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@with_usable_settings
def command(loaded: Loaded, wanted: str, names: tuple[str, ...]) -> None:
    """While it is on, the health listener looks and writes down, but does nothing; crashes are still started anew.

    NAME: comfyui:gpu1 or gpu1; without one, all.
    """
    found = supervised.read(loaded)
    for instance in found.named(names):
        if wanted == "off":
            orders.end_maintenance(str(instance.state))
            click.echo(f"{instance.program}: watched over again")
            continue
        try:
            orders.begin_maintenance(str(instance.state), time.time())
        except OSError as error:
            raise explained(instance.state, error) from error
        click.echo(f"{instance.program}: left alone, until comfy-supervisor maintenance off")
    supervised.tell_if_down(found)
