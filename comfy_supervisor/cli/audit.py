"""``comfy-supervisor audit``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from .. import codec
from ..errors import UserError
from ..health import audit, ledger
from ..health.audit import Audited
from ..settings import Loaded
from . import supervised
from .common import warn, with_usable_settings


@click.command("audit")
@click.option("-v", "--verbose", is_flag=True, help="Tell every decision, not only those that would differ.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@with_usable_settings
def command(loaded: Loaded, names: tuple[str, ...], verbose: bool) -> int:
    """NAME: comfyui:gpu1 or gpu1, a decisions.jsonl, or a folder that holds some; without one, all instances.

    Exit code 1 if a decision would not be taken again, or there is none.
    """
    count = different = 0
    for file in _files(loaded, names):
        before = count
        for found in _audited(file):
            count += 1
            different += not found.same
            if verbose or not found.same:
                click.echo(_line(found))
        if count == before:
            warn(f"{file}: there is nothing in it")
    counted = f"{count} decision{'s' * (count != 1)}, {different or 'none'} of them different today"
    click.echo(counted if count else "no decisions at all")
    return int(bool(different) or not count)


def _files(loaded: Loaded, names: Sequence[str]) -> list[Path]:
    """Return the records that are meant; raises UserError for a name that means none."""
    if not names:
        return [file for one in supervised.read(loaded).instances for file in _records(one.state)]
    return [file for name in names for file in _meant(loaded, name)]


def _meant(loaded: Loaded, name: str) -> list[Path]:
    """Return a file itself, a folder's records (or those in its folders), or those of the instances of that name."""
    path = Path(name)
    if path.is_dir():
        found = [file for folder in (path, *sorted(path.iterdir())) for file in _records(folder)]
        if not found and "/" in name:
            raise UserError(f"{name}: has no {ledger.DECISIONS}, and neither has a folder in it")
        if found:
            return found
    elif "/" in name or path.exists():
        return [path]
    return [file for one in supervised.read(loaded).named([name]) for file in _records(one.state)]


def _records(folder: Path) -> list[Path]:
    """Return an instance's records, the older one first."""
    files = (folder / f"{ledger.DECISIONS}.1", folder / ledger.DECISIONS)
    return [file for file in files if file.is_file() and not file.is_symlink()]


def _audited(file: Path) -> Iterator[Audited]:
    try:
        yield from audit.audit(file)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except codec.MalformedError as error:
        raise UserError(f"{error}; is it a {ledger.DECISIONS}?") from error


def _line(found: Audited) -> str:
    then, today = found.decision.verdict, found.today
    story = f"{found.decision.at} {found.decision.instance}: {then.told}"
    if found.same:
        return story
    return f"{found.line}: {story}\n   today: {today.word.value} [{today.deed.value}]: {today.reason}"
