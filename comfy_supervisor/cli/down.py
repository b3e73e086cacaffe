"""``comfy-supervisor down``."""

from __future__ import annotations

import click

from .. import presence, rpc
from ..errors import UserError
from ..settings import Loaded
from . import daemon, service
from .common import with_usable_settings


@click.command("down")
@with_usable_settings
def command(loaded: Loaded) -> None:
    """Waits until all is down: as long as restart.stop_seconds for each ComfyUI."""
    rendered = service.read(loaded)
    pid = presence.running(rendered.socket)
    if pid is None:
        click.echo("nothing to do: supervisord isn't running")
        return
    service.checked(rpc.Supervisor(rendered.url).shutdown())
    patience = 30.0 + len(rendered.instances) * (loaded.settings.restart.stop_seconds + 5.0)
    if not daemon.wait_for_end(rendered.url, lambda: daemon.has_ended(pid), patience):
        raise UserError(f"supervisord (pid {pid}) is still there after {patience:.0f} s; look at {rendered.log}")
    click.echo("down")
