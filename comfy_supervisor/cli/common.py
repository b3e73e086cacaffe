"""What the commands share: the settings they were given, and how they print."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UserError
from ..model import SHARED_STATE
from ..settings import FILE_NAME, Loaded, Settings, find, load, salvage
from ..settings.load import named

if TYPE_CHECKING:
    from rich.table import Table

    from ..plan import Plan

TABLES = tuple(f"{table}." for table in Settings.model_fields)

WIDEST, NARROWEST = 120, 20
"""Characters of a line for people to read."""
MOST_NAMED = 10
"""Ids that are named where one is ambiguous."""

F = TypeVar("F", bound=Callable[..., Any])


def with_config(function: F) -> F:
    """Give a command the option ``-c``; its first argument is the file that was named, None if none was."""

    @click.option("-c", "--config", metavar="FILE", help="The settings file, instead of the one that is found.")
    @click.pass_context
    @functools.wraps(function)
    def wrapped(ctx: click.Context, /, *args: Any, config: str | None, **kwargs: Any) -> Any:
        file = config or ctx.obj
        _refuse_folder(file)
        return function(file, *args, **kwargs)

    return wrapped  # type: ignore[return-value]


def _refuse_folder(config: str | None) -> None:
    """Raise UserError if a folder is named as the settings file."""
    path, origin = named(config, os.environ, Path.cwd()) or (None, "")
    if path and path.is_dir():
        inside = path / FILE_NAME
        mend = f"did you mean {inside}?" if inside.is_file() else f"name the file in it, such as {inside}"
        raise UserError(f"{path}: is a folder, though {origin} names it as the settings file; {mend}")


def with_settings(function: F, *, as_owner: bool = True) -> F:
    """Give a command the option ``-c`` and the settings, as its first argument.

    What root asks for is done as the state folder's owner, unless ``as_owner`` is false.
    """

    @with_config
    @functools.wraps(function)
    def wrapped(config: str | None, /, *args: Any, **kwargs: Any) -> Any:
        loaded = load_settings(config)
        if as_owner:
            become_owner(loaded)
        with _source_named(loaded):
            return function(_with_kept_standin(loaded), *args, **kwargs)

    return wrapped  # type: ignore[return-value]


def with_usable_settings(function: F, *, as_owner: bool = True) -> F:
    """Give a command the option ``-c`` and the settings as far as they are right; ``as_owner`` as above.

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
        if as_owner:
            become_owner(loaded)
        return function(loaded, *args, **kwargs)

    return wrapped  # type: ignore[return-value]


def become_owner(loaded: Loaded) -> None:
    """Go on, as root, as whoever the state folder belongs to: what root wrote there its owner could not even read."""
    if os.geteuid():
        _tell_of_the_machines_own(loaded)
        return
    from .. import machine, paths  # noqa: PLC0415  # only where there is somebody to become

    with contextlib.suppress(FileNotFoundError):
        owner = paths.choose(loaded, machine.look()).state.stat().st_uid
        if owner:
            machine.become(owner)


def _tell_of_the_machines_own(loaded: Loaded) -> None:
    """Say that there is a service which is out of reach, to who has none: "not rendered" is not said of that one."""
    if not SHARED_STATE.is_dir() or os.access(SHARED_STATE, os.W_OK | os.X_OK):
        return
    from .. import machine, paths  # noqa: PLC0415  # only where there is such a one

    with contextlib.suppress(PermissionError):
        if paths.choose(loaded, machine.look()).state.exists():
            return
        warn(
            f"{SHARED_STATE} is another account's, as a service's of this machine: sudo comfy-supervisor speaks of that"
        )


def _with_kept_standin(loaded: Loaded) -> Loaded:
    """Return the settings, with the stand-in where that is what runs for want of a ComfyUI."""
    if loaded.settings.comfyui.directory:
        return loaded
    from .. import fallback, machine, paths  # noqa: PLC0415  # only where no ComfyUI is named

    if not fallback.kept(loaded, paths.choose(loaded, machine.look()).conf):
        return loaded
    warn(fallback.KEPT)
    return fallback.with_standin(loaded)


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


def print_json(value: Any, *, ascii_only: bool = False) -> None:
    """Print a value as JSON; ``ascii_only`` where others' text is in it, which a terminal might obey."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=ascii_only))


def refuse_elsewhere(loaded: Loaded) -> None:
    """Raise UserError if the settings are meant for another machine: nothing of it can be started here."""
    version = loaded.settings.comfyui.version
    if version:
        raise UserError(f'comfyui.version = "{version}": means a machine that is not this one; remove it to run here')


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return rows under a header, in columns; their cells may have ANSI colours."""
    from rich.table import Table  # noqa: PLC0415  # 45 ms that only tables need
    from rich.text import Text  # noqa: PLC0415

    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in header:
        made.add_column(title, overflow="fold")
    for row in rows:
        made.add_row(*(Text.from_ansi(cell) for cell in row))
    return made


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, in columns; in colour only on a terminal, never cut off elsewhere."""
    from rich.console import Console  # noqa: PLC0415

    Console(width=None if sys.stdout.isatty() else 1000).print(table(header, rows))


def warn(text: str) -> None:
    """Print a warning, apart from the output."""
    click.echo(f"{click.style('note', fg='yellow')}: {text}", err=True)


def tell_notes(made: Plan) -> None:
    """Print what an operator should know of a plan."""
    from ..fallback import python_note  # noqa: PLC0415  # only commands that made a plan have loaded it

    for note in filter(None, (python_note(made.loaded, made.facts.installation), *made.notes)):
        warn(note)


def some(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def columns(otherwise: int) -> int:
    """Return how wide lines may be, in characters: as a terminal is, but readable; elsewhere as wide as said."""
    return min(shutil.get_terminal_size((otherwise, 24)).columns, WIDEST) if sys.stdout.isatty() else otherwise


def wrapped(text: str, room: int, indent: str = "") -> list[str]:
    """Return text in lines of so many characters, one at least; words, paths above all, are left whole."""
    made = textwrap.wrap(
        text, max(room, NARROWEST), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return made or [""]


def duration(seconds: float) -> str:
    """Return a time span as people read it: ``42 s``, ``3 min``, ``5 h 12 min``, ``4 d 2 h``."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"
