"""``comfy-supervisor doctor``."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import click

from ..doctor import Finding, Verdict, examine
from ..errors import UserError
from ..settings import find, salvage
from .common import become_owner, columns, print_json, with_config, with_json, wrapped

COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}
INDENT = " " * len("problem  configuration  ")
WIDTH = 80


@click.command("doctor")
@with_json
@with_config
def command(config: str | None, as_json: bool) -> int:
    """Looks at the settings, ComfyUI, torch, the GPUs and this machine, and changes nothing.

    Exit code 1 if something would stop ComfyUI. With --json: a list of {check, verdict, found, wanted, mend}.
    """
    with contextlib.suppress(UserError):  # which is among the findings
        become_owner(salvage(find(config, os.environ, Path.cwd()), os.environ)[0])
    with _hint():
        findings = examine(config)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo("\n".join(_lines(finding, columns(WIDTH))))
        click.echo(f"\n{_summary(findings)}")
    return int(any(finding.verdict is Verdict.PROBLEM for finding in findings))


@contextlib.contextmanager
def _hint() -> Iterator[None]:
    """Say on a terminal that it takes a while, and take that back."""
    on_terminal = sys.stderr.isatty()
    if on_terminal:
        click.echo("looking; the import of torch takes some seconds", nl=False, err=True)
    try:
        yield
    finally:
        if on_terminal:
            click.echo("\r\x1b[K", nl=False, err=True)


def _lines(finding: Finding, width: int) -> Iterator[str]:
    """Yield a finding's lines; those on what is wanted and how to get there only where it isn't so."""
    verdict = click.style(f"{finding.verdict.value:<9}", fg=COLOURS[finding.verdict])
    room = width - len(INDENT)
    first, *more = wrapped(finding.found, room)
    yield f"{verdict}{finding.check:<15}{first}"
    yield from (INDENT + line for line in more)
    if finding.verdict is not Verdict.OK:
        for title, text in (("wanted", finding.wanted), ("mend", finding.mend)):
            yield from (INDENT + line for line in wrapped(f"{title}: {text}", room, "  ") if text)


def _summary(findings: Iterable[Finding]) -> str:
    verdicts = [finding.verdict for finding in findings]
    problems, warnings = verdicts.count(Verdict.PROBLEM), verdicts.count(Verdict.WARNING)
    counted = f"{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    if problems:
        return click.style(f"{counted}: ComfyUI would not run as things are.", fg="red")
    return click.style(f"{counted}: nothing keeps ComfyUI from running.", fg="green")
