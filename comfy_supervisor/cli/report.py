"""``comfy-supervisor report``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from ..figures import report as records
from ..figures.numbers import Spread, spread
from ..figures.report import NOTHING, Figures
from ..jobs.journal import JournalError
from ..launch.lastword import printable
from ..rendered import Rendered
from ..settings import Loaded
from . import kept, supervised
from .app import FINE, NO
from .common import duration, print_json, print_table, warn, with_json, with_usable_settings

if TYPE_CHECKING:
    from collections import Counter

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
_TOTAL = "total"
_MOST_CAUSES = 4
_SPAN = ("median", "p95", "longest")
Shown = tuple[str, Figures]
"""A name, and its figures."""


@click.command("report")
@click.option("--since", default="7d", metavar="TIME", help="How far back: 90m, 12h, 7d (the default), 4w.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@with_json
@with_usable_settings
def command(loaded: Loaded, names: tuple[str, ...], since: str, as_json: bool) -> int:
    """Up: the API was well, and nothing held it back. Time in which nobody looked is unknown, and counts as neither.

    p95: 95 of 100 took no longer (nearest rank).
    """
    until = time.time()
    begin = until - _seconds(since)
    found, failed = _read(supervised.read(loaded).named(names), begin, until)
    if as_json:
        print_json(_values(found, begin, until), ascii_only=True)
        return NO if failed else FINE
    shown = [*((each.program, figures) for each, figures in found)]
    shown += [(_TOTAL, _sum(found))] if len(found) > 1 else []
    click.echo(f"{_moment(begin)} to {_moment(until)} UTC")
    for header, rows in (_times(shown), _restarts(shown), _jobs(shown), _spreads(shown)):
        click.echo()
        print_table(header, rows)
    _tell_limits(found, begin, loaded.settings.jobs.history)
    return NO if failed else FINE


def _seconds(text: str) -> float:
    """Return a span of time as people write it, in seconds; raises UserError."""
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if not found or not int(found[1]):
        raise UserError(f"--since {printable(text)}: expected a number and m, h, d or w, such as 12h or 7d")
    return float(int(found[1]) * _UNITS[found[2]])


def _read(instances: Sequence[Rendered], begin: float, until: float) -> tuple[list[tuple[Rendered, Figures]], bool]:
    """Return each instance's figures, and whether some could not be read, which is said."""
    found: list[tuple[Rendered, Figures]] = []
    failed = False
    for instance in instances:
        try:
            found.append((instance, records.read(instance.state, begin, until)))
        except JournalError as error:
            kept.complain(f"{instance.program}: {kept.mend(error)}")
            failed = True
    return found, failed


def _sum(found: Iterable[tuple[Rendered, Figures]]) -> Figures:
    return reduce(add, (figures for _, figures in found), NOTHING)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))


def _tell_limits(found: Iterable[tuple[Rendered, Figures]], begin: float, history: int) -> None:
    """Say of which instances the journal does not go back as far as was asked for."""
    for instance, figures in found:
        oldest = figures.kept.oldest
        if oldest and oldest > begin and figures.kept.count >= history:
            told = f"jobs are remembered since {_moment(oldest)} UTC only"
            warn(f"{instance.program}: {told}; jobs.history = {history} bounds them")


def _times(shown: Iterable[Shown]) -> tuple[Sequence[str], list[Sequence[str]]]:
    rows = [(name, _share(each.times.share), *map(_span, vars(each.times).values())) for name, each in shown]
    return ("time", "up", "up for", "down", "stopped", "unknown"), list(rows)


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    told = f"{int(share * 10000) / 100:.2f} %"  # cut, not rounded: 100 % is what was never down
    return click.style(told, fg="green" if share >= 0.99 else "yellow")  # noqa: PLR2004


def _restarts(shown: Iterable[Shown]) -> tuple[Sequence[str], list[Sequence[str]]]:
    rows = []
    for name, each in shown:
        found = each.restarts
        spreads = (spread(found.detected), spread(found.recovered))
        told = [cell for one in spreads for cell in _typical_and_worst(one)]
        rows.append((name, str(found.causes.total()), *told, _causes(found.causes)))
    return ("restarts", "number", "detected in", "worst", "up again in", "worst", "causes"), list(rows)


def _typical_and_worst(found: Spread | None) -> tuple[str, str]:
    return (_span(found.median), _span(found.longest)) if found else ("-", "-")


def _causes(causes: Counter[str]) -> str:
    """Return the most frequent causes with their numbers, and how many others there were."""
    listed = [f"{printable(cause)} {count}" for cause, count in causes.most_common(_MOST_CAUSES)]
    others = causes.total() - sum(count for _, count in causes.most_common(_MOST_CAUSES))
    return ", ".join([*listed, *([f"others {others}"] if others else [])]) or "-"


def _jobs(shown: Iterable[Shown]) -> tuple[Sequence[str], list[Sequence[str]]]:
    header = ("jobs", "done", "rescued", "failed", "quarantined", "deleted")
    counts = [
        (each.jobs.done, each.jobs.rescued, each.jobs.failed, each.jobs.quarantined, each.jobs.deleted)
        for _, each in shown
    ]
    return header, [(name, *map(str, row)) for (name, _), row in zip(shown, counts, strict=True)]


def _spreads(shown: Iterable[Shown]) -> tuple[Sequence[str], list[Sequence[str]]]:
    header = ("a job took", *_SPAN, "and waited", *_SPAN)
    rows = [(name, *_spread(spread(each.jobs.ran)), "", *_spread(spread(each.jobs.waited))) for name, each in shown]
    return header, list(rows)


def _spread(found: Spread | None) -> tuple[str, str, str]:
    return (_span(found.median), _span(found.p95), _span(found.longest)) if found else ("-", "-", "-")


def _span(seconds: float | None) -> str:
    """Return a time span, short ones to a tenth of a second; a dash for none."""
    if not seconds:
        return "-" if seconds is None else "0 s"
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)  # noqa: PLR2004


def _values(found: Sequence[tuple[Rendered, Figures]], begin: float, until: float) -> dict[str, Any]:
    """Return the report as a program reads it; units are in the names, times in seconds since the epoch."""
    return {
        "v": 1,
        "since": round(begin, 3),
        "until": round(until, 3),
        "instances": [{"program": each.program, "id": each.id, **_figures(figures)} for each, figures in found],
        _TOTAL: _figures(_sum(found)),
    }


def _figures(figures: Figures) -> dict[str, Any]:
    times, jobs = figures.times, figures.jobs
    return {
        "up_share": None if times.share is None else round(times.share, 6),
        **{f"{name}_seconds": round(value, 3) for name, value in vars(times).items()},
        "restarts": figures.restarts.causes.total(),
        "restarts_by_cause": dict(figures.restarts.causes.most_common()),
        "detect_seconds": _spread_values(figures.restarts.detected),
        "recover_seconds": _spread_values(figures.restarts.recovered),
        "jobs": {name: getattr(jobs, name) for name in ("done", "rescued", "failed", "quarantined", "deleted")},
        "job_seconds": _spread_values(jobs.ran),
        "wait_seconds": _spread_values(jobs.waited),
        "jobs_remembered_since": figures.kept.oldest,
    }


def _spread_values(values: Iterable[float]) -> dict[str, float] | None:
    found = spread(values)
    return None if found is None else {name: round(value, 3) for name, value in vars(found).items()}
