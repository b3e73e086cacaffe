"""``comfy-supervisor start``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..rendered import Rendered
from ..rpc import Supervisor
from . import refusals, supervised


@click.command("start")
@supervised.with_instances
def command(supervisor: Supervisor, instances: Sequence[Rendered]) -> None:
    """NAME: comfyui:gpu1 or gpu1; without one, all. Lifts a hold and ends a backoff."""
    processes = {process.program: process for process in supervised.checked(supervisor.processes())}
    idle = [one for one in instances if one.program not in processes or not processes[one.program].pid]
    refusals.no_torch_rendered(idle)
    refusals.taken_ports_rendered(idle)
    for instance in instances:
        supervised.forget_holds(instance)
        started = supervised.checked(supervisor.start(instance.program))
        click.echo(f"{instance.program}: {'started' if started else 'runs already'}")
