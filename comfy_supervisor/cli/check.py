"""``comfy-supervisor check``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ..check import Line, Verdict, Wishes, examine
from ..check.checklist import PATIENCE, Found
from ..check.workflow import read
from ..launch.lastword import printable
from ..settings import Loaded
from . import supervised
from .common import WIDEST, columns, print_json, with_json, with_usable_settings, wrapped

SIGNS = {Verdict.HOLDS: ("✓", "green"), Verdict.FAILS: ("✗", "red"), Verdict.UNKNOWN: ("?", "yellow")}
TITLES = {
    "boot": "starts at boot",
    "cuda": "runs with CUDA",
    "api": "API under 100 ms",
    "restart": "restart on failure",
    "logs": "logs that diagnose",
    "backend": "backend as it is",
    "recovery": "killed, and back",
    "generation": "test generation",
}
INDENT = " " * (2 + max(map(len, TITLES.values())) + 2)


@click.command("check")
@click.option("--workflow", metavar="FILE", help="Generate this workflow (JSON in API format), and time it.")
@click.option("--anyway", is_flag=True, help="Generate it though jobs run or wait; it is behind them.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=PATIENCE,
    show_default=True,
    metavar="SECONDS",
    help="How long it may take; then it is taken back.",
)
@click.option("--prove", is_flag=True, help="Kill each instance, which has to be idle, and time its return.")
@with_json
@with_usable_settings
def command(loaded: Loaded, workflow: str | None, anyway: bool, timeout: float, prove: bool, as_json: bool) -> int:
    """Does it start at boot, run with CUDA, answer in 100 ms, come back after a failure, and leave logs? Measured.

    It looks at what runs, and disturbs nothing unless told to. ✓ holds, ✗ does not, ? can't be told from here. Exit
    code 1 if one does not hold. With --json: a list of {program, item, verdict, found, mend, figures}.
    """
    graph = read(Path(workflow)) if workflow else None
    found = examine(loaded, supervised.read(loaded), Wishes(graph, anyway, timeout, prove))
    if as_json:
        lines = list(found)
        print_json([_row(program, line) for program, line in lines], ascii_only=True)
    else:
        lines = list(_shown(found))
        click.echo(f"\n{_summary([line for _, line in lines])}")
    return int(any(line.verdict is Verdict.FAILS for _, line in lines))


def _row(program: str, line: Line) -> dict[str, Any]:
    return {"program": program or None, **vars(line), "verdict": line.verdict.value}


def _shown(found: Iterator[Found]) -> Iterator[Found]:
    """Print each line as it comes, under its instance's name; yield all."""
    last = ""
    for program, line in found:
        if program != last:
            click.echo(f"\n{program}")
            last = program
        click.echo("\n".join(_lines(line)))
        yield program, line


def _lines(line: Line) -> Iterator[str]:
    sign, colour = SIGNS[line.verdict]
    room = columns(WIDEST) - len(INDENT)
    first, *more = wrapped(printable(line.found), room)
    yield f"{click.style(sign, fg=colour)} {TITLES[line.item]:<{len(INDENT) - 2}}{first}"
    yield from (INDENT + text for text in more)
    if line.mend:
        title = "could be better: " if line.verdict is Verdict.HOLDS else "mend: "
        yield from (INDENT + text for text in wrapped(title + printable(line.mend), room))


def _summary(lines: Sequence[Line]) -> str:
    counts = {verdict: sum(line.verdict is verdict for line in lines) for verdict in Verdict}
    text = f"{counts[Verdict.HOLDS]} of {len(lines)} hold"
    if counts[Verdict.UNKNOWN]:
        text += f", {counts[Verdict.UNKNOWN]} can't be told from here"
    return click.style(f"{text}.", fg="red" if counts[Verdict.FAILS] else "green")
