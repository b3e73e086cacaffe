"""``comfy-supervisor stop``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..rendered import Rendered
from ..rpc import Supervisor
from . import supervised


@click.command("stop")
@supervised.with_instances
def command(supervisor: Supervisor, instances: Sequence[Rendered]) -> None:
    """NAME: comfyui:gpu1 or gpu1; without one, all. supervisord goes on."""
    for instance in instances:
        stopped = supervised.checked(supervisor.stop(instance.program, patience=supervised.STOP_PATIENCE))
        click.echo(f"{instance.program}: {'stopped' if stopped else 'was stopped already'}")
