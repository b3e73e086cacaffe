"""``comfy-supervisor start``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..rendered import Rendered
from ..rpc import Supervisor
from . import service


@click.command("start")
@service.with_instances
def command(supervisor: Supervisor, instances: Sequence[Rendered]) -> None:
    """NAME: comfyui:gpu1 or gpu1; without one, all. Lifts a hold and ends a backoff."""
    for instance in instances:
        service.forget_holds(instance)
        started = service.checked(supervisor.start(instance.program))
        click.echo(f"{instance.program}: {'started' if started else 'runs already'}")
