"""What ``pause``, ``resume`` and ``drain`` share: jobs are held back, and it is looked whether they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import click

from .. import status
from ..disk import explained
from ..errors import UserError
from ..health.senses import heartbeat
from ..jobs import pause
from ..rendered import Rendered, Service
from ..status import Status
from .kept import complain

POLL = 0.25
"""Seconds between two looks."""
PATIENCE = 5 * heartbeat.EVERY
"""Seconds in which ComfyUI's extension should have told that it has heard."""

_WITHOUT = (
    "runs without comfy-supervisor's extension, which alone can hold jobs back; "
    "it takes jobs.extension = true and ComfyUI 0.3.45 or later"
)
_MUTE = (
    "comfy-supervisor's extension, which alone can hold jobs back, says nothing in it; comfy-supervisor logs tells why "
    "it is not there, or doctor whether the disk is full"
)

Instances = Sequence[Rendered]


def look(rendered: Service, chosen: Instances) -> tuple[Status, ...]:
    """Return the status of some instances."""
    return status.look(replace(rendered, instances=tuple(chosen)), with_gpu=False)


def until(rendered: Service, chosen: Instances, reached: Callable[[Status], bool]) -> tuple[Status, ...]:
    """Return the status of some instances once each has reached what is waited for, or that has lasted too long."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = look(rendered, chosen)
        if all(map(reached, found)) or time.monotonic() > deadline:
            return found
        time.sleep(POLL)


def is_possible(rendered: Service, chosen: Instances) -> bool:
    """Tell whether all instances have the extension, without which no job is held back; say which have not."""
    lacking = [each for each in until(rendered, chosen, _has_extension) if not _has_extension(each)]
    for each in lacking:
        complain(f"{each.instance.program}: {_MUTE if each.instance.extension else _WITHOUT}")
    return not lacking


def _has_extension(found: Status) -> bool:
    """Tell whether the extension is there or, where nobody answers yet, will be."""
    return found.beat is not None or (found.instance.extension and not (found.lives and found.ready))


def begin(instance: Rendered) -> None:
    """Have no further job begun; raises UserError."""
    try:
        pause.begin(str(instance.run), time.time())
    except OSError as error:
        raise explained(instance.run, error) from error


def end(instance: Rendered) -> None:
    """Have jobs begun again; raises UserError."""
    pause.end(str(instance.run))
    if pause.ordered(str(instance.run)):
        raise UserError(f"{instance.run}: the pause in it can't be removed; do it as the user who runs supervisord")


def is_held(found: Status) -> bool:
    """Tell whether no further job is begun, as far as anybody can tell."""
    return found.beat.held != "" if found.beat else not found.ready


def say(found: Status, text: str) -> None:
    """Print what became of an instance."""
    click.echo(f"{found.instance.program}: {text}")
