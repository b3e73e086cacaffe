"""``comfy-supervisor jobs``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

import click

from .. import rpc
from ..errors import UserError
from ..jobs.job import FINISHED, UNFINISHED, Job, State, Waits
from ..jobs.journal import Journal
from ..launch.lastword import printable
from ..programs import LISTENER
from ..rendered import Rendered, Service
from ..settings import Loaded
from . import dropping, incidents, job_words, kept, supervised
from .app import FINE, NO
from .common import F, print_json, print_table, warn, with_json, with_usable_settings
from .kept import Found
from .verbs import Verbs

PENDING = (*UNFINISHED, State.QUARANTINED)
"""The jobs that somebody still waits for."""


@click.command(cls=Verbs)
def command() -> None:
    """Without a verb: list. A job's ID may be cut short, as far as it can be told from others."""


def _of_instances(function: F) -> F:
    return click.argument("names", nargs=-1, metavar="[NAME]...")(function)


def _of_one(function: F) -> F:
    return click.option("--instance", metavar="NAME", help="Look for the ID in this instance's jobs only.")(function)


@command.command("list")
@_of_instances
@click.option("--all", "everything", is_flag=True, help="Those that have ended, too.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State]),
    help="Those in this state; may be said several times.",
)
@with_json
@with_usable_settings
def show_list(loaded: Loaded, names: tuple[str, ...], everything: bool, states: tuple[str, ...], as_json: bool) -> None:
    """Show the jobs that wait, run, or are set aside.

    NAME: comfyui:gpu1 or gpu1; without one, all. What has ended is counted below.
    """
    instances = supervised.read(loaded).named(names)
    wanted = tuple(map(State, states)) or (tuple(State) if everything else PENDING)
    found: list[Found] = []
    counts: list[str] = []
    for instance, (jobs, tally) in kept.read(instances, lambda journal: (journal.jobs(*wanted), journal.tally())):
        found += [Found(instance, job) for job in jobs]
        counts.append(f"{instance.program}: {job_words.tallied(asdict(tally)) or 'no jobs yet'}")
    if as_json:
        print_json([job_words.value(each) for each in found], ascii_only=True)
        return
    if found:
        print_table(job_words.TITLES, job_words.rows(found, time.time()))
    click.echo("\n".join(counts) or kept.NONE_KNOWN)


@command.command("show")
@click.argument("text", metavar="ID")
@_of_one
@with_json
@with_usable_settings
def show_one(loaded: Loaded, text: str, instance: str | None, as_json: bool) -> None:
    """Show all that is known of one job.

    With --json its graph, too, as POST /prompt takes it.
    """
    (found,) = kept.find(_instances(supervised.read(loaded), instance), [text])
    body, incident = _body(found), incidents.of_job(found.instance, found.job.prompt_id)
    if as_json:
        told = {"incident": incident or None, "request": job_words.request(found.job, body)}
        print_json({**job_words.value(found), **told}, ascii_only=True)
    else:
        click.echo("\n".join(job_words.page(found, body, time.time())))
        if incident:
            click.echo(f"{'incident':<10} {incident}")


@command.command("retry")
@click.argument("texts", nargs=-1, metavar="[ID]...")
@click.option("--quarantined", is_flag=True, help="All that are set aside.")
@click.option("--waiting", is_flag=True, help="All that wait for an operator for another reason.")
@_of_one
@with_usable_settings
def retry(loaded: Loaded, texts: tuple[str, ...], quarantined: bool, waiting: bool, instance: str | None) -> None:
    """Have jobs submitted again.

    They come after those that wait already, and what they were charged with is forgiven.
    """
    if not (texts or quarantined or waiting):
        raise UserError("jobs retry: which? Say an ID, --quarantined or --waiting")
    rendered = supervised.read(loaded)
    instances = _instances(rendered, instance)
    chosen = kept.find(instances, texts) if texts else []
    _refuse_what_is_not_kept(chosen)
    chosen += [each for each in _for_operators(instances, quarantined, waiting) if each not in chosen]
    for found in chosen:
        _retry(found)
    if chosen:
        _tell_when(rendered)
    else:
        click.echo("there is none")


@command.command("drop")
@click.argument("texts", nargs=-1, required=True, metavar="ID...")
@_of_one
@with_usable_settings
def drop(loaded: Loaded, texts: tuple[str, ...], instance: str | None) -> int:
    """Have jobs never run.

    One that waits is deleted, in ComfyUI's queue too, and one that runs is asked to give up.
    """
    code, silent = FINE, set[str]()
    for found in kept.find(_instances(supervised.read(loaded), instance), texts):
        with kept.guarded(found.instance):
            done, text = dropping.drop(found, silent)
        click.echo(f"{printable(found.job.prompt_id)}: {text}")
        code = code if done else NO
    return code


@command.command("export")
@_of_instances
@with_usable_settings
def export(loaded: Loaded, names: tuple[str, ...]) -> None:
    """Print the jobs that are not done, for another machine.

    As JSON, a job a line, each as POST /prompt takes it.

    NAME: comfyui:gpu1 or gpu1; without one, all. API keys are not in it, since they are not kept.
    """
    for _, found in kept.read(supervised.read(loaded).named(names), _pending):
        for job, body in found:
            request = job_words.request(job, body)
            if request is None:
                warn(f"{printable(job.prompt_id)} is left out: its graph is not kept")
                continue
            if job.secrets:
                warn(f"{printable(job.prompt_id)} lacks its {job_words.keys(job)}")
            click.echo(json.dumps(request))


def _pending(journal: Journal) -> list[tuple[Job, dict[str, Any] | None]]:
    return [(job, journal.body(job.seq)) for job in journal.jobs(*PENDING)]


def _instances(rendered: Service, name: str | None) -> tuple[Rendered, ...]:
    return rendered.named([name] if name else [])


def _body(found: Found) -> dict[str, Any] | None:
    with kept.guarded(found.instance), closing(Journal(found.instance.state, make=False)) as journal:
        return journal.body(found.job.seq)


def _refuse_what_is_not_kept(chosen: Sequence[Found]) -> None:
    """Raise UserError for each job whose graph there is no more."""
    problems = [
        f"{printable(found.job.prompt_id)}: is {found.job.state.value}, and its graph is not kept; submit it anew"
        for found in chosen
        if found.job.state in FINISHED or _body(found) is None
    ]
    if problems:
        raise UserError(*problems)


def _for_operators(instances: Sequence[Rendered], quarantined: bool, waiting: bool) -> Iterator[Found]:
    """Yield the jobs that an operator has to decide on, of the kinds that are wanted."""
    for instance, jobs in kept.read(instances, lambda journal: journal.jobs(State.QUEUED, State.QUARANTINED)):
        for job in jobs:
            if (quarantined and job.state is State.QUARANTINED) or (waiting and job.waits is not Waits.NOT):
                yield Found(instance, job)


def _retry(found: Found) -> None:
    """Have one job submitted again, if it would not be anyway, and say so."""
    job, shown = found.job, printable(found.job.prompt_id)
    if job.state is not State.QUARANTINED and job.waits is Waits.NOT:
        click.echo(f"{shown}: needs no retry: it is {job.state.value}")
        return
    with kept.guarded(found.instance), closing(Journal(found.instance.state)) as journal:
        is_next = journal.retry(job)
    without = f", without its API keys ({job_words.keys(job)})" if job.secrets else ""
    again = f"is going to be submitted again{without}"
    click.echo(f"{shown}: {again if is_next else 'has changed meanwhile: see jobs show'}")


def _tell_when(rendered: Service) -> None:
    """Say that nobody submits jobs yet, where that is so."""
    if not rendered.watched:
        warn("nobody submits jobs again: the health listener does, and health.watch = false leaves it out")
        return
    supervised.tell_if_down(rendered)
    listener = rpc.Supervisor(rendered.url).process(LISTENER)
    if isinstance(listener, rpc.Process) and listener.statename not in ("STARTING", "RUNNING"):
        warn(f"the health listener isn't running: this takes effect once it does (supervisorctl start {LISTENER})")
