"""What the commands share: the settings they were given, and how they print."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import UserError
from ..settings import Loaded, Settings, find, load, salvage

TABLES = tuple(f"{table}." for table in Settings.model_fields)

F = TypeVar("F", bound=Callable[..., Any])


def with_config(function: F) -> F:
    """Give a command the option ``-c``; its first argument is the file that was named, None if none was."""

    @click.option("-c", "--config", metavar="FILE", help="The settings file, instead of the one that is found.")
    @click.pass_context
    @functools.wraps(function)
    def wrapped(ctx: click.Context, /, *args: Any, config: str | None, **kwargs: Any) -> Any:
        return function(config or ctx.obj, *args, **kwargs)

    return wrapped  # type: ignore[return-value]


def with_settings(function: F) -> F:
    """Give a command the option ``-c`` and the settings, as its first argument."""

    @with_config
    @functools.wraps(function)
    def wrapped(config: str | None, /, *args: Any, **kwargs: Any) -> Any:
        loaded = load_settings(config)
        with _source_named(loaded):
            return function(loaded, *args, **kwargs)

    return wrapped  # type: ignore[return-value]


def with_usable_settings(function: F) -> F:
    """Give a command the option ``-c`` and the settings as far as they are right.

    For commands on what runs already, which a slip in the file must not put out of reach; only wrong [paths] do.
    """

    @with_config
    @functools.wraps(function)
    def wrapped(config: str | None, /, *args: Any, **kwargs: Any) -> Any:
        loaded, problems = salvage(find(config, os.environ, Path.cwd()), os.environ)
        fatal = [problem for problem in problems if ": paths" in problem]
        if fatal:
            raise UserError(*fatal)
        for problem in problems:
            warn(problem)
        return function(loaded, *args, **kwargs)

    return wrapped  # type: ignore[return-value]


@contextlib.contextmanager
def _source_named(loaded: Loaded) -> Iterator[None]:
    """Say of each error that begins with a setting's key where that is set."""
    try:
        yield
    except UserError as error:
        problems = (f"{loaded.source}: {line}" if line.startswith(TABLES) else line for line in error.problems)
        raise UserError(*problems) from error


def load_settings(config: str | None) -> Loaded:
    """Return the settings of a file, or of the one that is found; raises UserError."""
    return load(find(config, os.environ, Path.cwd()), os.environ)


def with_json(function: F) -> F:
    """Give a command the option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def refuse_elsewhere(loaded: Loaded) -> None:
    """Raise UserError if the settings are meant for another machine: nothing of it can be started here."""
    version = loaded.settings.comfyui.version
    if version:
        raise UserError(f'comfyui.version = "{version}": means a machine that is not this one; remove it to run here')


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, in columns; in colour only on a terminal, never cut off elsewhere."""
    from rich.console import Console  # noqa: PLC0415  # 45 ms that only tables need
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text.from_ansi(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


def warn(text: str) -> None:
    """Print a warning, apart from the output."""
    click.echo(f"{click.style('note', fg='yellow')}: {text}", err=True)


def duration(seconds: float) -> str:
    """Return a time span as people read it: ``42 s``, ``3 min``, ``5 h 12 min``, ``4 d 2 h``."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"
