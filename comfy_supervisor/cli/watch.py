"""``comfy-supervisor watch``."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import click

from .. import status
from ..health.deeds import Deeds, Done
from ..rendered import Service
from ..settings import Loaded
from ..status import Status
from . import supervised
from .common import duration, table, with_usable_settings
from .status import columns

POLL = 1.0
"""Seconds between two looks."""
RECENT = 3
"""How many of an instance's last deeds are shown below the table."""


@click.command("watch")
@with_usable_settings
def command(loaded: Loaded) -> None:
    """On a terminal a table that lives, with what the health listener did last, until Ctrl-C.

    Elsewhere a line for each change and each deed. All that it ever decided: comfy-supervisor audit -v.
    """
    found = supervised.read(loaded)
    (_live if sys.stdout.isatty() else _plain)(found)


def _live(found: Service) -> None:
    from rich.console import Group  # noqa: PLC0415  # only where there is a terminal
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    deeds = _deeds(found)
    recent: dict[str, deque[Done]] = {program: deque(maxlen=RECENT) for program in deeds}
    with Live(auto_refresh=False) as screen:
        while True:
            rows = status.look(found)
            for program, record in deeds.items():
                recent[program].extend(record.news())
            below = Text("\n".join([*_reasons(rows), *_history(recent)]))
            screen.update(Group(table(*columns(rows)), below), refresh=True)
            time.sleep(POLL)


def _deeds(found: Service) -> dict[str, Deeds]:
    return {instance.program: Deeds(instance.state) for instance in found.instances}


def _history(recent: Mapping[str, Sequence[Done]]) -> Iterator[str]:
    """Yield what was done last, in the order of time; nothing if nothing was."""
    done = sorted(((each, program) for program, deeds in recent.items() for each in deeds), key=lambda row: row[0].at)
    if done:
        yield "\nlast decisions:"
    for each, program in done:
        yield f"{each.at.astimezone():%Y-%m-%d %H:%M:%S} {program}: {each.told}"


def _reasons(rows: Sequence[Status]) -> Iterator[str]:
    """Yield what the health listener says of each instance, and for how long that has been so."""
    for row in rows:
        if row.health:
            lasting = duration(max(0.0, time.time() - row.health.since))
            yield f"{row.instance.program}: {row.health.word} for {lasting}: {row.health.reason}"
        elif row.text:
            yield f"{row.instance.program}: {row.text}"


def _plain(found: Service) -> None:
    known: dict[str, tuple[str, ...]] = {}
    deeds = _deeds(found)
    for record in deeds.values():
        record.news()  # what is past is no change
    while True:
        for program, record in deeds.items():
            for done in record.news():
                click.echo(f"{done.at.astimezone():%H:%M:%S} {program}: {done.told}")
        for row in status.look(found, with_gpu=False, with_jobs=False):
            word = row.health.word if row.health else ""
            news = (row.state, word)
            if known.get(row.instance.id) != news:
                known[row.instance.id] = news
                reason = row.health.reason if row.health else row.text
                said = " ".join(filter(None, (row.instance.program, *news)))
                click.echo(f"{time.strftime('%H:%M:%S')} {said}: {reason}".rstrip(": "))
        time.sleep(POLL)
