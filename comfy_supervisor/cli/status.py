"""``comfy-supervisor status``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from .. import status, why
from ..launch import lastword
from ..programs import LISTENER
from ..rendered import Service
from ..settings import Loaded
from ..status import Status
from . import incidents, supervised
from .common import duration, print_json, print_table, some, with_json, with_usable_settings

WELL = ("IDLE", "BUSY", "STARTING", "STOPPED")
"""The health listener's words that need nobody's attention."""
RECENT = 86400.0
"""Seconds for which an incident is spoken of: of many instances, most have had one some day."""
MIB = 1024 * 1024
TITLES = ("program", "state", "health", "pid", "uptime", "url", "api", "queue", "ram", "gpu", "vram")
COLOURS = {"RUNNING": "green", "HELD": "red", "FATAL": "red", "BACKOFF": "yellow", "DOWN": "red"}


@click.command("status")
@click.option("--exit-code", is_flag=True, help="Exit code 1 unless every instance is ready for jobs, and well.")
@with_json
@with_usable_settings
def command(loaded: Loaded, exit_code: bool, as_json: bool) -> int:
    """HELD: the launcher keeps ComfyUI from starting, and says why; comfy-supervisor start overrides it."""
    service = supervised.read(loaded)
    rows = status.look(service)
    if as_json:
        print_json([_row(row) for row in rows])
    else:
        print_table(*columns(rows))
        for line in remarks(service, rows, time.time()):
            click.echo(line)
    return int(exit_code and not all(row.ready and _well(row) for row in rows))


def remarks(service: Service, rows: Sequence[Status], now: float) -> Iterator[str]:
    """Yield what is to be said below the table, at a time in seconds since the epoch."""
    for row in rows:
        program = row.instance.program
        yield from (f"{program}: {line}" for line in _trouble(row))
        if row.text and not row.ready and not (row.health and row.text in row.health.reason):
            yield f"{program}: {row.text}"
        yield from (f"{program}: {line}" for line in _why(service, row))
        incident = incidents.newest(row.instance)
        if incident and now - incident.at < RECENT:
            yield f"last incident, {incidents.told(incident, now)}"
    if standins := [row.instance.program for row in rows if row.instance.standin]:
        yield f"{some(standins)}: the stand-in, not ComfyUI: it generates no images"


def _why(service: Service, row: Status) -> Sequence[str]:
    """Return why it is held back, where that is for a death."""
    return why.told(why.held(row.hold, row.instance.log, service.url, row.instance.program)) if row.hold else ()


def _well(row: Status) -> bool:
    return row.watched and (row.health is None or row.health.word in WELL)


def _health(row: Status) -> str:
    """Return the health listener's word."""
    if row.health is None:
        word = "-" if row.watched else click.style("unwatched", fg="red")
        return f"{word} (paused)" if row.paused else word
    orders = [name for name, on in (("maintenance", row.health.maintenance), ("paused", row.paused)) if on]
    word = " ".join(filter(None, (row.health.word.lower(), f"({', '.join(orders)})" if orders else "")))
    return click.style(word, fg="green" if row.health.word in WELL else "yellow")


def _trouble(row: Status) -> Iterator[str]:
    """Yield what the health listener has to say, where all isn't well."""
    health = row.health
    if row.full:
        yield "its disk is full: neither its jobs nor how it is are written down; comfy-supervisor doctor names it"
    if row.trouble:
        yield f"its journal of jobs: {lastword.printable(row.trouble)}"
    if row.paused and row.ready and row.beat is None and row.uptime > status.UNSEEN:
        yield "is not held by the pause: it runs without comfy-supervisor's extension"
    if not row.watched and not row.full:
        yield f"nobody watches its health; supervisorctl start {LISTENER}, or look at its log"
    if health is None:
        return
    if health.word not in WELL and health.cause != "healthy":
        yield health.reason if health.cause == "unknown" else f"{health.cause}: {health.reason}"
    if health.restarts and not health.given_up:
        hours = health.window_seconds / 3600
        yield f"{len(health.restarts)} of {health.budget} restarts and deaths spent, within {hours:g} h"


def _row(row: Status) -> dict[str, Any]:
    return {
        "program": row.instance.program,
        "id": row.instance.id,
        "standin": row.instance.standin,
        "state": row.state,
        "text": row.text,
        "pid": row.pid or None,
        "uptime_seconds": row.uptime if row.lives else None,
        "url": row.instance.url,
        "port": row.instance.port,
        "ready": row.ready,
        "queue": row.answer.queue,
        "jobs": vars(row.jobs) if row.jobs else None,
        "journal": _journal(row),
        "paused": row.paused,
        "memory_mib": row.memory // MIB if row.lives else None,
        "gpu": row.instance.gpu or None,
        "vram_used_mib": row.use.memory_used_mib if row.use else None,
        "vram_total_mib": row.use.memory_total_mib if row.use else None,
        "gpu_percent": row.use.utilization_percent if row.use else None,
        "health": vars(row.health) if row.health else None,
        "watched": row.watched,
        "incident": incidents.summary(incident) if (incident := incidents.newest(row.instance)) else None,
        "log": str(row.instance.log),
    }


def _journal(row: Status) -> str | None:
    """Return ``ok``, ``degraded`` (not all is written down) or ``unreadable``; None: there is no journal."""
    if row.trouble or row.full:
        return "degraded" if row.jobs else "unreadable"
    return "ok" if row.jobs else None


def columns(rows: Sequence[Status]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Return the table's titles, and its rows; there is a column for the jobs where there is something to say."""
    jobs = [_jobs(row) for row in rows]
    if not any(jobs):
        return TITLES, [cells(row) for row in rows]
    place = TITLES.index("queue") + 1
    told = [(*row[:place], said or "-", *row[place:]) for row, said in zip(map(cells, rows), jobs, strict=True)]
    return (*TITLES[:place], "jobs", *TITLES[place:]), told


def _jobs(row: Status) -> str:
    """Return how many jobs are not in ComfyUI's queue, where they should be or can't be."""
    if row.jobs is None:
        return ""
    kept = f"{row.jobs.waiting} waiting" if row.lives else f"{row.jobs.kept} kept"
    counts = [kept] if (row.jobs.waiting if row.lives else row.jobs.kept) else []
    if row.jobs.quarantined:
        counts.append(click.style(f"{row.jobs.quarantined} quarantined", fg="yellow"))
    return ", ".join(counts)


def cells(row: Status) -> tuple[str, ...]:
    """Return the table's cells of one instance, under TITLES."""
    use = row.use
    return (
        row.instance.program,
        click.style(row.state, fg=COLOURS.get(row.state)),
        _health(row),
        str(row.pid or "-"),
        duration(row.uptime) if row.lives else "-",
        row.instance.url,
        _api(row),
        "-" if row.answer.queue is None else str(row.answer.queue),
        f"{row.memory // MIB} MiB" if row.lives else "-",
        row.instance.gpu or "cpu",
        f"{use.memory_used_mib}/{use.memory_total_mib} MiB" if use else "-",
    )


def _api(row: Status) -> str:
    if row.ready:
        return click.style("ready", fg="green")
    return click.style("starting", fg="yellow") if row.starting else "not ready"
