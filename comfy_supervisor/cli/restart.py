"""``comfy-supervisor restart``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..rendered import Rendered
from ..rpc import Supervisor
from . import service


@click.command("restart")
@service.with_instances
def command(supervisor: Supervisor, instances: Sequence[Rendered]) -> None:
    """NAME: comfyui:gpu1 or gpu1; without one, all, one after the other."""
    for instance in instances:
        service.checked(supervisor.stop(instance.program, patience=service.STOP_PATIENCE))
        service.forget_holds(instance)
        service.checked(supervisor.start(instance.program))
        click.echo(f"{instance.program}: restarted")
