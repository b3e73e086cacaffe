"""``comfy-supervisor pause``."""

from __future__ import annotations

import click

from ..settings import Loaded
from ..status import Status
from . import holding, supervised
from .app import FINE, NO
from .common import with_usable_settings


@click.command("pause")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@with_usable_settings
def command(loaded: Loaded, names: tuple[str, ...]) -> int:
    """NAME: comfyui:gpu1 or gpu1; without one, all.

    The running job is finished, and jobs are accepted as ever. It lasts until resume, over restarts of ComfyUI too.
    """
    rendered = supervised.read(loaded)
    chosen = rendered.named(names)
    if not holding.is_possible(rendered, chosen):
        return NO
    for instance in chosen:
        holding.begin(instance)
    found = holding.until(rendered, chosen, holding.is_held)
    for each in found:
        holding.say(each, _told(each))
    return FINE if all(map(holding.is_held, found)) else NO


def _told(found: Status) -> str:
    if not found.lives:
        return "paused; it does not run, and will begin no job when it does"
    if found.beat is None:
        return "paused; it does not answer yet, and will begin no job when it does"
    if not found.beat.held:
        return "is asked to pause, but has not told that it does; comfy-supervisor status shows how it is"
    running, waiting = found.beat.queue
    return f"paused; {'its job is finished first' if running else 'no job runs'}, {waiting} waiting"
