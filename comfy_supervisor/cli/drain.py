"""``comfy-supervisor drain``."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import click

from ..errors import UserError
from ..jobs import pause
from ..jobs.comfy import Comfy
from ..jobs.job import UNFINISHED
from ..jobs.journal import Journal, JournalError
from ..launch.lastword import printable
from ..rendered import Rendered, Service
from ..settings import Loaded
from ..status import Status
from . import holding, supervised
from .app import FINE, NO
from .common import duration, warn, with_usable_settings
from .job_words import SHORTEST
from .waiting import say

PATIENCE = 5.0
"""Seconds for which ComfyUI's answer is waited for: somebody looks on."""


@click.command("drain")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Give up after this long, and resume.")
@with_usable_settings
def command(loaded: Loaded, names: tuple[str, ...], timeout: float | None) -> int:
    """NAME: comfyui:gpu1 or gpu1; without one, all.

    Begins no further job, waits for the running one however long it takes, and stops ComfyUI. Its next start finds what
    waited. Ctrl-C before the stop: jobs are begun again.
    """
    rendered = supervised.read(loaded)
    supervisor = supervised.supervisor(rendered)
    chosen = rendered.named(names)
    if not holding.is_possible(rendered, chosen):
        return NO
    with _paused(chosen):
        if not _waited(rendered, chosen, math.inf if timeout is None else timeout):
            warn(f"a job still runs after {duration(timeout or 0.0)}; nothing was stopped, and all is as it was before")
            raise click.exceptions.Exit(NO)
        refuse_loss(holding.look(rendered, chosen))
        answers = (supervisor.stop(one.program, patience=supervised.STOP_PATIENCE) for one in chosen)
        stopped = list(map(supervised.checked, answers))
    for each, was_running in zip(holding.look(rendered, chosen), stopped, strict=True):
        holding.say(each, f"{'drained and stopped' if was_running else 'was stopped already'}; {_kept(each, loaded)}")
    return FINE


@contextmanager
def _paused(chosen: Sequence[Rendered]) -> Iterator[None]:
    """Hold jobs back meanwhile; where it isn't carried through, all is as it was before, and Ctrl-C is told of."""
    others = [one for one in chosen if not pause.ordered(str(one.run))]
    try:
        for instance in chosen:
            holding.begin(instance)
        yield
    except BaseException as error:
        for instance in others:
            holding.end(instance)
        if isinstance(error, KeyboardInterrupt) and others:
            say("interrupted: jobs are begun again")
        raise
    for instance in chosen:
        holding.end(instance)


@dataclass
class Wait:
    """What was seen of instances that finish their jobs."""

    idle_at: dict[str, float] = field(default_factory=dict)
    """Of those that were idle: the beat that told so first."""
    told: dict[str, str] = field(default_factory=dict)
    """Of those that weren't: the job that was told of."""

    def is_over(self, found: Status) -> bool:
        """Tell whether nothing runs in an instance, and nothing will.

        Two beats have to say so: just before the first, a job may have been on its way to the worker.
        """
        beat, name = found.beat, found.instance.id
        if not found.lives or (beat is None and found.starting):
            return True
        if beat is None or not beat.held or beat.queue[0] or beat.prompt_id:
            self.idle_at.pop(name, None)
            return False
        return beat.at > self.idle_at.setdefault(name, beat.at)

    def news(self, found: Status) -> Iterator[str]:
        """Yield what to say of an instance that is waited for, once a job."""
        job = found.beat.prompt_id if found.beat else ""
        if job and self.told.get(found.instance.id) != job:
            self.told[found.instance.id] = job
            yield f"{found.instance.program}: finishes job {_short(job)}"


def _waited(rendered: Service, chosen: Sequence[Rendered], timeout: float) -> bool:
    """Wait until no job runs; return whether that was within ``timeout`` seconds."""
    wait, began = Wait(), time.monotonic()
    while True:
        found = holding.look(rendered, chosen)
        busy = [each for each in found if not wait.is_over(each)]
        for each in busy:
            for line in wait.news(each):
                say(line)
        lasting = time.monotonic() - began
        _show(busy, lasting)
        if not busy or lasting >= timeout:
            return not busy
        time.sleep(holding.POLL)


def _show(busy: Sequence[Status], lasting: float) -> None:
    """Write the line that lives, on a terminal."""
    if sys.stdout.isatty():
        line = "; ".join(f"{each.instance.program}: {_doing(each)}" for each in busy)
        text = f"{line}, {duration(lasting)}" if busy else ""
        width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be erased
        click.echo(f"\r\x1b[K{text[:width]}", nl=False)


def _doing(found: Status) -> str:
    beat = found.beat
    if beat is None:
        return "does not tell what it does"
    return " ".join(filter(None, (_short(beat.prompt_id) or "no job", printable(beat.place))))


def _short(prompt_id: str) -> str:
    return printable(prompt_id[:SHORTEST])


def refuse_loss(found: Sequence[Status]) -> None:
    """Raise UserError for each instance with jobs that are in no journal: a stop would lose them."""
    if problems := [f"{each.instance.program}: {text}" for each in found if (text := _loss(each))]:
        raise UserError(*problems)


def _loss(found: Status) -> str:
    """Return what a stop would lose, in words; empty: nothing."""
    waiting, journal = (found.beat.queue[1], found.beat.journal) if found.beat else (0, "ok")
    if not waiting:
        return ""
    there = f"{waiting} job waits" if waiting == 1 else f"{waiting} jobs wait"
    all_the_same = "comfy-supervisor stop stops it all the same"
    if journal == "degraded":
        lost = f"{there}, and its journal can't be written: a stop would lose what waits"
        return f"{lost}; comfy-supervisor logs tells why, {all_the_same}"
    unkept = _unkept(found.instance)
    if unkept is None and (journal == "left" or waiting > (found.jobs.queued if found.jobs else 0)):
        return f"{there}, and which can't be told now: a stop might lose what waits; {all_the_same}"
    if unkept:
        mend = "try again in a minute" if journal == "left" else "comfy-supervisor logs tells why, resume lets it run"
        return f"{there}; a stop would lose {unkept}, which no journal has; {mend}, {all_the_same}"
    return ""


def _unkept(instance: Rendered) -> int | None:
    """Return how many of the jobs in ComfyUI's queue are in no journal; None: that can't be told."""
    with closing(Comfy(instance.url, PATIENCE)) as comfy, closing(Journal(instance.state, make=False)) as journal:
        here = comfy.queue()
        try:
            kept = {job.prompt_id for job in journal.jobs(*UNFINISHED)} if journal.exists else set()
        except JournalError:
            return None
        return None if here is None else len(here.items.keys() - kept) + here.nameless


def _kept(found: Status, loaded: Loaded) -> str:
    """Return how many jobs are kept, and what for."""
    count = found.jobs.kept if found.jobs else 0
    jobs = f"{count or 'no'} job{'' if count == 1 else 's'} {'is' if count == 1 else 'are'} kept"
    replay = loaded.settings.jobs.replay
    if not count or replay == "always":
        return f"{jobs} for its next start" if count else jobs
    return f'{jobs}, for comfy-supervisor jobs retry --waiting (jobs.replay = "{replay}")'
