"""``comfy-supervisor down``."""

from __future__ import annotations

import functools
import os

import click

from .. import presence, rpc
from ..check import boot
from ..errors import UserError
from ..launch import orphans
from ..rendered import Service
from ..service import UNIT
from ..settings import Loaded
from . import daemon, supervised
from .common import become_owner, with_usable_settings
from .systemctl import Systemd


@click.command("down")
@functools.partial(with_usable_settings, as_owner=False)
def command(loaded: Loaded) -> None:
    """Waits until all is down: as long as restart.stop_seconds for each ComfyUI.

    The service of comfy-supervisor service install is stopped through systemd, which would start it again else.
    """
    rendered = supervised.read(loaded)
    stopped = _stopped_by_systemd(presence.running(rendered.socket))
    if stopped:
        again = presence.service_start(user=stopped.user)
        click.echo(f"down: the service is stopped until the next boot, or {again}")
        return
    become_owner(loaded)
    pid = presence.running(rendered.socket)
    if pid is None:
        if unheard := [f"{one.program}: {text}" for one in rendered.instances if (text := presence.unheard(one.state))]:
            raise UserError(*unheard)
        if not _end_leftovers(rendered):
            click.echo("nothing to do: supervisord isn't running")
        return
    supervised.checked(rpc.Supervisor(rendered.url).shutdown())
    patience = 30.0 + len(rendered.instances) * (loaded.settings.restart.stop_seconds + 5.0)
    if not daemon.wait_for_end(rendered.url, lambda: orphans.has_ended(pid), patience):
        raise UserError(f"supervisord (pid {pid}) is still there after {patience:.0f} s; look at {rendered.log}")
    _end_leftovers(rendered)
    click.echo("down")


def _stopped_by_systemd(pid: int | None) -> Systemd | None:
    """Have systemd stop our service, if that runs this supervisord, and return which systemd that was.

    Raises UserError where it is root's to stop.
    """
    runner = boot.runner_of(pid) if pid else None
    if not runner or runner.name != UNIT:
        return None
    if not runner.user and os.geteuid():
        raise UserError(f"systemd would start it again at once: sudo systemctl stop {UNIT}")
    systemd = Systemd(runner.user)
    systemd.tell("stop", UNIT)
    return systemd


def _end_leftovers(rendered: Service) -> bool:
    """End what a supervisord that was killed has left behind; return whether there was anything."""
    ended = False
    for instance in rendered.instances:
        told: list[str] = []
        orphans.end_left(orphans.marks(str(instance.state)), told.append)
        for line in told:
            click.echo(f"{instance.program}: {line}")
        ended |= bool(told)
    return ended
