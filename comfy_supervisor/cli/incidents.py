"""``comfy-supervisor incidents``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from .. import disk, machine, paths
from ..codec import MalformedError
from ..errors import UserError
from ..incidents import incident as incidents
from ..incidents import store
from ..incidents.incident import Incident
from ..launch.lastword import cut, printable
from ..rendered import Rendered
from ..settings import Loaded
from .common import duration, print_json, print_table, some, with_json, with_usable_settings
from .verbs import Verbs

WIDEST = 80
"""Characters of what was seen that the list has room for."""
TITLES = ("id", "age", "instance", "kind", "cause", "what")


@click.command(cls=Verbs)
def command() -> None:
    """Without a verb: list. An incident's ID may be cut short, as far as it can be told from others."""


@command.command("list")
@click.option("--instance", metavar="NAME", help="This instance's only.")
@with_json
@with_usable_settings
def show_list(loaded: Loaded, instance: str | None, as_json: bool) -> None:
    """Show the incidents that are kept, the newest first."""
    found = [each for each in _read(_folder(loaded)) if instance in (None, each.instance, each.program)]
    if as_json:
        print_json([summary(each) for each in found], ascii_only=True)
    elif found:
        print_table(TITLES, [_row(each, time.time()) for each in found])
    else:
        click.echo("no incidents are known")


@command.command("show")
@click.argument("text", metavar="ID")
@with_json
@with_usable_settings
def show_one(loaded: Loaded, text: str, as_json: bool) -> None:
    """Show the page that tells all about one incident."""
    folder = _folder(loaded)
    name = _named(folder, text)
    if as_json:
        print_json(incidents.plain(_load(folder, name)), ascii_only=True)
    else:
        with _explained(folder / name):
            click.echo(store.page(folder, name).rstrip("\n"))
        click.echo(f"\nAll of it: {folder / name}")


@command.command("export")
@click.argument("text", metavar="ID")
@click.option("-o", "--output", metavar="FILE", help="Where to write it; -: standard output. By default ID.tar.gz.")
@with_usable_settings
def export(loaded: Loaded, text: str, output: str | None) -> None:
    """Write one incident, with all that was kept of it, into a tar.gz. Secrets are masked."""
    folder = _folder(loaded)
    name = _named(folder, text)
    with _explained(folder / name):
        packed = store.archive(folder, name)
    if output == "-":
        sys.stdout.buffer.write(packed)
        return
    file = Path(output or f"{name}.tar.gz")
    with _explained(file):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(packed)
    click.echo(str(file))


def summary(incident: Incident) -> dict[str, Any]:
    """Return what a program needs to know of an incident to choose one; times in seconds since the epoch."""
    jobs = incident.jobs
    return {
        "id": incident.id,
        "at": incident.at,
        "program": incident.program,
        "instance": incident.instance,
        "kind": incident.kind.value,
        "cause": incident.cause,
        "headline": incident.headline,
        "suspect": incident.suspect.told if incident.suspect else None,
        "jobs": sorted(jobs.named),
        "unrecorded": incident.unrecorded,
    }


def newest(instance: Rendered) -> Incident | None:
    """Return the newest incident of an instance; None: there is none."""
    return store.newest(instance.state.parent / store.FOLDER, instance.id)


def of_job(instance: Rendered, prompt_id: str) -> str:
    """Return the id of the newest incident that speaks of a job; empty: none does, or they can't be read."""
    with suppress(OSError):
        for incident in store.every(instance.state.parent / store.FOLDER):
            if incident.instance == instance.id and prompt_id in incident.jobs.named:
                return incident.id
    return ""


def told(incident: Incident, now: float) -> str:
    """Return an incident's first line with its age, and how to read on."""
    age = duration(max(0.0, now - incident.at))
    return f"{age} ago: {printable(incident.headline)}; comfy-supervisor incidents show {incident.id}"


def _row(incident: Incident, now: float) -> tuple[str, ...]:
    age = duration(max(0.0, now - incident.at))
    seen = cut(incident.reason or incident.ending, WIDEST)
    return incident.id, age, incident.program, incident.kind.value, incident.cause, seen


def _folder(loaded: Loaded) -> Path:
    return paths.choose(loaded, machine.look()).state / store.FOLDER


def _read(folder: Path) -> list[Incident]:
    with _explained(folder):
        return list(store.every(folder))


def _load(folder: Path, name: str) -> Incident:
    try:
        with _explained(folder / name):
            return store.load(folder, name)
    except MalformedError as error:
        raise UserError(f"{folder / name / store.RECORD}: {error}; its {store.PAGE} may still tell") from error


def _named(folder: Path, text: str) -> str:
    """Return the one incident whose id begins so; raises UserError if none does, or several."""
    with _explained(folder):
        known = store.names(folder)
    found = [text] if text in known else [name for name in known if text and name.startswith(text)]
    if len(found) == 1:
        return found[0]
    shown = printable(text) or '""'
    if not found:
        raise UserError(f"{shown}: no such incident; comfy-supervisor incidents shows all that are kept")
    raise UserError(f"{shown}: may mean {some(found)}; say more of it")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk.explained(path, error) from error
