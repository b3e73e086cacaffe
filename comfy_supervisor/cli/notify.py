"""``comfy-supervisor notify``."""

from __future__ import annotations

import socket

import click

from .. import machine, paths
from ..errors import UserError
from ..notify import config as configuration
from ..notify import sender
from ..notify.config import Config
from ..notify.outbox import Outbox
from ..settings import Loaded
from .app import FINE, NO
from .common import with_settings


@click.command("notify")
@click.option("--test", is_flag=True, help="Send a test message through each receiver, now.")
@with_settings
def command(loaded: Loaded, test: bool) -> int:
    """Receivers are named without what is secret of them. Exit code 1 if one did not take the test message."""
    config = Config(**loaded.settings.notify.model_dump())
    if not config.receivers:
        raise UserError("notify: nobody is to be told; set notify.webhook or notify.urls, then comfy-supervisor apply")
    return _test(config) if test else _show(config, loaded)


def _test(config: Config) -> int:
    found = sender.tested(config, socket.gethostname())
    for receiver, trouble in found:
        click.echo(f"{receiver.name}: {click.style(trouble, fg='red') if trouble else click.style('sent', fg='green')}")
    return NO if any(trouble for _, trouble in found) else FINE


def _show(config: Config, loaded: Loaded) -> int:
    for receiver in config.receivers:
        click.echo(receiver.name)
    click.echo(f"told of: {', '.join(config.on) or 'nothing'}")
    outbox = Outbox(paths.choose(loaded, machine.look()).state / configuration.FOLDER)
    outbox.load()
    for entry in outbox.entries.values():
        tries = max((waiting.tries for waiting in entry.left.values()), default=0)
        click.echo(f"still to be sent, after {tries} tries: {entry.message.subject}")
    return FINE
