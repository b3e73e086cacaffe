"""``comfy-supervisor restart``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from .. import exchange
from ..exchange import Promise
from ..rendered import Rendered
from ..rpc import Supervisor
from . import daemon, refusals, supervised


@click.command("restart")
@supervised.with_instances
def command(supervisor: Supervisor, instances: Sequence[Rendered]) -> None:
    """NAME: comfyui:gpu1 or gpu1; without one, all, one after the other."""
    refusals.no_torch_rendered(instances)
    for instance in instances:
        promise = Promise({instance.program: supervised.checked(supervisor.process(instance.program)).start})
        with daemon.signals_later(), exchange.promised(instance.state.parent, promise):
            supervised.checked(supervisor.stop(instance.program, patience=supervised.STOP_PATIENCE))
            supervised.forget_holds(instance)
            supervised.checked(supervisor.start(instance.program))
        click.echo(f"{instance.program}: restarted")
