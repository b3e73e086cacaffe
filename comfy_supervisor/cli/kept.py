"""The journals' jobs, of all instances that a command is about: read, never made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import click

from ..errors import UserError
from ..jobs.job import Job
from ..jobs.journal import DamagedError, Journal, JournalError
from ..launch.lastword import printable
from ..rendered import Rendered
from .app import NO
from .common import some

NONE_KNOWN = "no jobs are known yet"

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """A job, and whose it is."""

    instance: Rendered
    job: Job


def read(instances: Sequence[Rendered], what: Callable[[Journal], T]) -> Iterator[tuple[Rendered, T]]:
    """Yield what is found in each journal that there is.

    Says what is wrong with one that can't be read, and goes on; ends the command with exit code 1 after the last.
    """
    failed = False
    for instance in instances:
        try:
            with closing(Journal(instance.state, make=False)) as journal:
                if not journal.exists:
                    continue
                result = what(journal)
        except JournalError as error:
            complain(f"{instance.program}: {mend(error)}")
            failed = True
            continue
        yield instance, result
    if failed:
        raise click.exceptions.Exit(NO)


@contextmanager
def guarded(instance: Rendered) -> Iterator[None]:
    """End the command with exit code 1, and a line, if an instance's journal can't be read or written."""
    try:
        yield
    except JournalError as error:
        complain(f"{instance.program}: {mend(error)}")
        raise click.exceptions.Exit(NO) from error


def mend(error: JournalError) -> str:
    """Return what is wrong with a journal, in one line with the mend."""
    if isinstance(error, DamagedError):
        return f"{printable(str(error))}; comfy-supervisor restart sets it aside and begins a new one"
    return f"{printable(str(error))}; is it another user's, or the disk full?"


def complain(text: str) -> None:
    """Print an error, apart from the output."""
    click.echo(f"{click.style('error', fg='red')}: {text}", err=True)


def find(instances: Sequence[Rendered], texts: Iterable[str]) -> list[Found]:
    """Return the jobs whose ids begin as was said; raises UserError for each that none, or several, begin with."""
    wanted = list(dict.fromkeys(texts))
    matches: dict[str, list[Found]] = {text: [] for text in wanted}
    for instance, found in read(instances, lambda journal: [(text, journal.beginning(text)) for text in wanted]):
        for text, jobs in found:
            matches[text] += [Found(instance, job) for job in jobs]
    chosen = {text: _meant(text, jobs) for text, jobs in matches.items()}
    problems = [_problem(text, matches[text]) for text in wanted if len(chosen[text]) != 1 or not text]
    if problems:
        raise UserError(*problems)
    return list(dict.fromkeys(found for each in chosen.values() for found in each))


def _meant(text: str, jobs: list[Found]) -> list[Found]:
    """Return those whose whole id it is, if there are any: of several instances, only one may have it so."""
    return [found for found in jobs if found.job.prompt_id == text] or jobs


def _problem(text: str, jobs: list[Found]) -> str:
    shown = printable(text) or '""'
    if not jobs or not text:
        return f"{shown}: no such job; comfy-supervisor jobs --all shows all that are known"
    names = [f"{printable(found.job.prompt_id)} ({found.instance.program})" for found in jobs]
    return f"{shown}: may mean {some(names)}; say more of it, or --instance"
