"""``comfy-supervisor down``."""

from __future__ import annotations

import click

from .. import presence, rpc
from ..errors import UserError
from ..launch import orphans
from ..rendered import Service
from ..settings import Loaded
from . import daemon, supervised
from .common import with_usable_settings


@click.command("down")
@with_usable_settings
def command(loaded: Loaded) -> None:
    """Waits until all is down: as long as restart.stop_seconds for each ComfyUI."""
    rendered = supervised.read(loaded)
    pid = presence.running(rendered.socket)
    if pid is None:
        if not _end_leftovers(rendered):
            click.echo("nothing to do: supervisord isn't running")
        return
    supervised.checked(rpc.Supervisor(rendered.url).shutdown())
    patience = 30.0 + len(rendered.instances) * (loaded.settings.restart.stop_seconds + 5.0)
    if not daemon.wait_for_end(rendered.url, lambda: daemon.has_ended(pid), patience):
        raise UserError(f"supervisord (pid {pid}) is still there after {patience:.0f} s; look at {rendered.log}")
    _end_leftovers(rendered)
    click.echo("down")


def _end_leftovers(rendered: Service) -> bool:
    """End what a supervisord that was killed has left behind; return whether there was anything."""
    ended = False
    for instance in rendered.instances:
        marks = dict(zip(orphans.MARKS, (instance.id, str(instance.state)), strict=True))
        told: list[str] = []
        orphans.end_left(marks, told.append)
        for line in told:
            click.echo(f"{instance.program}: {line}")
        ended |= bool(told)
    return ended
