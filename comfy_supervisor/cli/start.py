"""``comfy-supervisor start``."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from .. import status, why
from ..catalogue import Explanation
from ..rendered import Rendered
from ..rpc import Failure, Supervisor
from . import refusals, supervised

MOMENT = 5.0
"""Seconds that one is watched which has died before."""
_POLL = 0.2


@click.command("start")
@supervised.with_instances
def command(supervisor: Supervisor, instances: Sequence[Rendered]) -> None:
    """NAME: comfyui:gpu1 or gpu1; without one, all. Lifts a hold and ends a backoff.

    Says what the last life died of, where that is what it was held back for, and waits for a moment whether it does so
    again.
    """
    processes = {process.program: process for process in supervised.checked(supervisor.processes())}
    idle = [one for one in instances if one.program not in processes or not processes[one.program].pid]
    refusals.no_torch_rendered(idle)
    refusals.taken_ports_rendered(idle)
    for instance in instances:
        hold = status.hold(instance)
        before = why.held(hold, instance.log, supervisor.url, instance.program) if hold else None
        supervised.forget_holds(instance)
        started = supervised.checked(supervisor.start(instance.program))
        click.echo(f"{instance.program}: {'started' if started else 'runs already'}")
        if before:
            _tell_again(supervisor, instance, before)


def _tell_again(supervisor: Supervisor, instance: Rendered, before: Explanation) -> None:
    """Say what it died of before, and whether it has died again within a moment, of the same or of something else."""
    for line in why.told(before):
        click.echo(f"{instance.program}: before, {line}")
    pid = supervised.checked(supervisor.process(instance.program)).pid
    end = time.monotonic() + MOMENT
    while time.monotonic() < end:
        time.sleep(_POLL)
        process = supervisor.process(instance.program)
        if isinstance(process, Failure):
            return
        if process.pid != pid and (found := why.died(instance.log, supervisor.url, instance.program, pid)):
            again = found.cause == before.cause
            for line in (f"again, {found.cause}",) if again else why.told(found):
                click.echo(f"{instance.program}: {line}", err=True)
            return
