"""``comfy-supervisor status``."""

from __future__ import annotations

from typing import Any

import click

from .. import status
from ..settings import Loaded
from ..status import Status
from . import service
from .common import duration, print_json, print_table, with_json, with_usable_settings

MIB = 1024 * 1024
TITLES = ("program", "state", "pid", "uptime", "url", "api", "queue", "ram", "gpu", "vram")
COLOURS = {"RUNNING": "green", "HELD": "red", "FATAL": "red", "BACKOFF": "yellow", "DOWN": "red"}


@click.command("status")
@click.option("--exit-code", is_flag=True, help="Exit code 1 unless every instance is ready for jobs.")
@with_json
@with_usable_settings
def command(loaded: Loaded, exit_code: bool, as_json: bool) -> int:
    """HELD: the launcher keeps ComfyUI from starting, and says why; comfy-supervisor start overrides it."""
    rows = status.look(service.read(loaded))
    if as_json:
        print_json([_row(row) for row in rows])
    else:
        print_table(TITLES, map(_cells, rows))
        for row in rows:
            if row.text and not row.ready:
                click.echo(f"{row.instance.program}: {row.text}")
    return int(exit_code and not all(row.ready for row in rows))


def _row(row: Status) -> dict[str, Any]:
    return {
        "program": row.instance.program,
        "id": row.instance.id,
        "state": row.state,
        "text": row.text,
        "pid": row.pid or None,
        "uptime_seconds": row.uptime if row.pid else None,
        "url": row.instance.url,
        "port": int(row.instance.address.rsplit(":", 1)[1]),
        "ready": row.ready,
        "queue": row.answer.queue,
        "memory_mib": row.memory // MIB if row.pid else None,
        "gpu": row.instance.gpu or None,
        "vram_used_mib": row.use.memory_used_mib if row.use else None,
        "vram_total_mib": row.use.memory_total_mib if row.use else None,
        "gpu_percent": row.use.utilization_percent if row.use else None,
        "log": str(row.instance.log),
    }


def _cells(row: Status) -> tuple[str, ...]:
    use = row.use
    return (
        row.instance.program,
        click.style(row.state, fg=COLOURS.get(row.state)),
        str(row.pid or "-"),
        duration(row.uptime) if row.pid else "-",
        row.instance.url,
        click.style("ready", fg="green") if row.ready else "not ready",
        "-" if row.answer.queue is None else str(row.answer.queue),
        f"{row.memory // MIB} MiB" if row.pid else "-",
        row.instance.gpu or "cpu",
        f"{use.memory_used_mib}/{use.memory_total_mib} MiB" if use else "-",
    )
