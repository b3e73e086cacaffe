"""``comfy-supervisor resume``."""

from __future__ import annotations

import click

from ..jobs import pause
from ..settings import Loaded
from ..status import Status
from . import holding, supervised
from .app import FINE, NO
from .common import with_usable_settings


@click.command("resume")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@with_usable_settings
def command(loaded: Loaded, names: tuple[str, ...]) -> int:
    """NAME: comfyui:gpu1 or gpu1; without one, all. Ends what pause began."""
    rendered = supervised.read(loaded)
    chosen = rendered.named(names)
    paused = [instance for instance in chosen if pause.ordered(str(instance.run))]
    for instance in paused:
        holding.end(instance)
    found = holding.until(rendered, chosen, _goes_on)
    for each in found:
        holding.say(each, _told(each, each.instance in paused))
    return FINE if all(map(_goes_on, found)) else NO


def _goes_on(found: Status) -> bool:
    return found.beat is None or found.beat.held != "paused"


def _told(found: Status, was_paused: bool) -> str:
    if not was_paused:
        return "was not paused"
    if not _goes_on(found):
        return "is asked to go on, but has not told that it does; comfy-supervisor status shows how it is"
    return "begins jobs again" if found.lives else "is not paused any more; it does not run"
