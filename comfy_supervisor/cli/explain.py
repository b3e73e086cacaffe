"""``comfy-supervisor explain``."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import click

from .. import catalogue
from ..catalogue import Explanation
from ..errors import UserError
from ..settings import find, salvage
from .app import FINE, NO
from .common import print_json, with_config, with_json

CHUNK = 1 << 18
"""Bytes that are read at once."""
IN_MEMORY = 16 << 20
"""Bytes of standard input that are kept in memory; what is beyond that lies on the disk meanwhile."""
SURENESS = ((0.9, "almost certainly"), (0.7, "probably"), (0.4, "perhaps"), (0.0, "a guess"))


@click.command("explain")
@click.option("--exit-code", type=int, metavar="N", help="How ComfyUI ended, if you know: 137 or -9 is SIGKILL.")
@click.argument("logfile", required=False, metavar="[LOGFILE|-]")
@with_json
@with_config
def command(config: str | None, logfile: str | None, exit_code: int | None, as_json: bool) -> int:
    """LOGFILE: any log of any ComfyUI, - for standard input; without one, that of the (first) instance here.

    Exit code 1 if nothing that is known explains it.
    """
    with _opened(logfile or str(_own(config))) as stream:
        found = catalogue.explain_chunks(_chunks(stream), exit_code=exit_code)
        quoted = {} if as_json else catalogue.quoted(_chunks(stream), found.evidence)
    if as_json:
        print_json(asdict(found), ascii_only=True)
    else:
        click.echo("\n".join(_told(found, quoted)))
    return NO if found.cause == "unknown" else FINE


def _told(found: Explanation, quoted: dict[int, str]) -> Iterator[str]:
    """Yield the lines in which a person reads it."""
    colour = {"healthy": "green", "unknown": "yellow"}.get(found.cause, "red")
    sure = next(words for least, words in SURENESS if found.confidence >= least)
    yield f"{click.style(found.cause, fg=colour, bold=True)}, {sure}"
    width = max((len(str(number)) for number in quoted), default=0)
    yield from (f"  {click.style(f'{number:>{width}}', dim=True)}  {line}" for number, line in sorted(quoted.items()))
    yield from _paragraph("why", found.explanation)
    yield from _paragraph("fix", found.fix)
    if found.also_possible:
        yield from _paragraph("or", ", ".join(found.also_possible))


def _paragraph(title: str, text: str) -> Iterator[str]:
    """Yield a text in lines as wide as the terminal, its title beside it."""
    columns = min(shutil.get_terminal_size((100, 24)).columns, 120)
    yield ""
    yield click.wrap_text(text, columns, initial_indent=f"{title:<5}", subsequent_indent=" " * 5)


@contextlib.contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Give a log that can be read twice; raises UserError if it can't be read."""
    try:
        with contextlib.ExitStack() as stack:
            stream = sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            if name == "-" or not stream.seekable():  # a pipe: <(zcat log.gz)
                stream = stack.enter_context(_kept(stream))
            yield stream
    except OSError as error:
        raise UserError(f"{name}: {error.strerror or error}; name a log, or - for standard input") from error


@contextlib.contextmanager
def _kept(source: BinaryIO) -> Iterator[BinaryIO]:
    """Give what a stream has to its end, so that it can be read twice; raises OSError."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as kept:
        shutil.copyfileobj(source, kept, CHUNK)
        yield kept  # type: ignore[misc]  # it has what BinaryIO has, but says so only from Python 3.11 on


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a log from its beginning."""
    stream.seek(0)
    while chunk := stream.read(CHUNK):
        yield chunk


def _own(config: str | None) -> Path:
    """Return the log of the instance here; raises UserError if there is none."""
    from . import supervised  # noqa: PLC0415  # 100 ms that a log which is named does without

    mend = "comfy-supervisor explain LOGFILE explains any log of ComfyUI's"
    loaded, _ = salvage(find(config, os.environ, Path.cwd()), os.environ)
    try:
        log = supervised.read(loaded).instances[0].log
    except (UserError, IndexError) as error:
        raise UserError(f"no instance has been rendered here, so there is no log of its own; {mend}") from error
    if not log.exists():
        raise UserError(f"{log}: not there yet, since ComfyUI was never started; {mend}")
    return log
