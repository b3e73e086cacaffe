"""The instances, watched from outside: what happens is told as it happens."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence

import click

from .. import presence, rpc, status, why
from ..errors import UserError
from ..rendered import Rendered, Service
from ..status import DOWN, Status
from . import daemon
from .app import FINE, NO
from .story import Story

POLL = 0.25


def wait(service: Service) -> int:
    """Wait until every API answers, or it is clear that one won't by itself; return the exit code.

    Raises UserError if supervisord ends meanwhile.
    """
    story = Story()
    while not story.all_ready:
        statuses = look(service, story)
        if _has_ended(statuses[0], service):
            raise UserError(f"supervisord has ended; look at {service.log}")
        hopeless = story.gave_up_on(statuses, time.monotonic())
        if hopeless:
            _explain(service, hopeless)
            return NO
        time.sleep(POLL)
    return FINE


def _has_ended(first: Status, service: Service) -> bool:
    """Tell whether supervisord is gone; raises UserError if it is there, and neither answers nor is about to end."""
    silent = first.state == DOWN and first.text != rpc.ENDING
    return silent and presence.running(service.socket) is None


def wait_in_background(service: Service) -> int:
    """Wait as `wait` does; Ctrl-C ends nothing but the wait, and says so."""
    try:
        return wait(service)
    except KeyboardInterrupt:
        say("it goes on in the background; comfy-supervisor down stops it")
        raise


def look(service: Service, story: Story) -> tuple[Status, ...]:
    """Look once, and say what is new: a line each, and on a terminal one that lives."""
    statuses = status.look(service, with_gpu=False, with_jobs=False)
    now = time.monotonic()
    sizes = {instance.program: _size(instance) for instance in service.instances}
    for line in story.tell(statuses, sizes, now):
        say(line)
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be erased
        click.echo(f"\r\x1b[K{story.line(now)[:width]}", nl=False)
    return statuses


def say(line: str) -> None:
    """Print a line with the time of day, in place of the one that lives."""
    erase = "\r\x1b[K" if sys.stdout.isatty() else ""
    click.echo(f"{erase}{time.strftime('%H:%M:%S')} {line}")


def _size(instance: Rendered) -> int:
    try:
        return instance.log.stat().st_size
    except OSError:
        return 0


def _explain(service: Service, programs: Sequence[str]) -> None:
    for instance in service.named(programs):
        click.echo(f"{instance.program} does not get ready; the end of {instance.log}:", err=True)
        click.echo(daemon.last_words(instance.log), err=True, nl=False)
        for line in why.told(why.died(instance.log, service.url, instance.program)):
            click.echo(f"{instance.program}: {line}", err=True)


def explain_deaths(service: Service, story: Story) -> None:
    """Say of the processes that have ended since the last call why, where that is known and nobody asked for it."""
    for program, pid in story.deaths():
        for instance in service.instances:
            if instance.program == program:
                for line in why.told(why.died(instance.log, service.url, program, pid)):
                    say(f"{program}: {line}")
