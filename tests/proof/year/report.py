"""The simulated year as tables: how it came out, fault by fault, and under what rates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tests.bench.report import Report, note, table
from tests.proof import plots
from tests.proof.plan import Plan

from .accounts import Accounts
from .faults import FAULTS
from .load import EVERY
from .promises import BrokenPromiseError
from .simulation import HTTPOK, OURS, PLAIN, Scenario, Simulation

WATCHERS = (OURS, HTTPOK, PLAIN)
_LOST = ("lost", "lost: the disk was full", "failed by its GPU")
_HOW = f"""\
In one process and in simulated time, every choice by the seed: instances, their users (a job every {EVERY:.0f} s in the
mean, tried again until it is accepted), operators, the machine, and all faults of the last table. What is ours is the
real thing: policy, fleet, the launcher's backoff and holds, and, whenever an instance is looked at, the extension's
hooks, both sides of the journal on SQLite, and the replay. While an instance is well and nothing is going to happen for
90 s, its looks are left out, and its jobs are only counted: a test shows that this changes no decision and no figure.
So each job that meets a fault, and those shortly before and after, are in the real journal; the others are not.
Not simulated: the black box, alerts, maintenance, and deaths between two lines of ours, which have tests.

The same faults, at the same times, meet supervisord alone (`autorestart=true`) and httpok over it, by the rule of its
httpok.py (superlance 2.0.0): a probe at each TICK_60, 10 s time-out, a restart at the first failure. Under all three
somebody looks each morning at nine, and mends what doesn't work. An instance should work unless an operator stopped
or paused it; a job is in time if it is done within 10 minutes of when it would have been if nothing ever went wrong.
A lost job was accepted and never ends, or was failed by a GPU that an earlier job had ruined. A false restart is one
of what needed none.

At each look of ours the promises are checked against the truth: the eight of the policy, and that no instance stays
ill; for the jobs, that none is nowhere, none runs twice in a life, and none that its user deleted comes back."""


def measure(plan: Plan) -> Report:
    """Simulate, and tell what came of it; a promise that was broken is missed, with the command that shows it again."""
    again = f"python -m tests.proof {'--quick ' if plan.quick else ''}year --seed {plan.seed}"
    try:
        report = _measured(plan)
        return replace(report, missed=[f"{each}; again: {again}" for each in report.missed])
    except BrokenPromiseError as error:
        return Report(
            f"A promise was broken, or the simulation:\n\n```\n{error}\n```",
            [f"{str(error).splitlines()[0]}; again: {again}"],
        )


def _measured(plan: Plan) -> Report:
    main, *others = _scenarios(plan)
    found = _simulated(main)
    rest = [(scenario, _simulated(scenario)) for scenario in others]
    years = main.instances * main.days / 365
    text = "\n\n".join(
        (
            _HOW,
            f"**{_named(main)}**",
            table(_HEADER, (_row(who, each, years) for who, each in found.items())),
            *(f"False restarts of {who}: {_listed(each)}." for who, each in found.items() if each.false),
            "![Availability over the simulated time](plots/year.svg)",
            "From what went wrong to the first deed or alert, and until the instance worked again: median, worst. "
            "A dash: each time the process ended by itself first, or nobody did anything.",
            table(
                ("what happened", "times", f"{OURS}: noticed", *(f"{who}: works" for who in WATCHERS)), _faults(found)
            ),
            "**Other sizes, and everything a thousand times as often** (there somebody looks each hour)",
            table(("simulated", "watcher", *_HEADER[1:]), _others(rest)),
            "The rates, each of one instance and year, of the machine, or of an instance's jobs in a year:",
            table(("fault", "a year", "of", "source"), _rates()),
        )
    )
    missed = [f"{_named(scenario)}: {each}" for scenario, ours in _ours(main, found, rest) for each in _missed(ours)]
    return Report(
        text, missed, {"year": plots.lines(_series(found), "share of time in which it could work", _unit(main))}
    )


def _scenarios(plan: Plan) -> tuple[Scenario, ...]:
    """Return what is simulated: the year itself first."""
    sizes = ((8, 30, 1), (1, 30, 1), (64, 1, 1), (1, 0.5, 1000), (8, 0.2, 1000), (64, 0.02, 1000))
    full = ((8, 365, 1), (1, 365, 1), (64, 20, 1), (1, 4, 1000), (8, 1, 1000), (64, 0.1, 1000))
    return tuple(Scenario(plan.seed, *each) for each in (sizes if plan.quick else full))


def _simulated(scenario: Scenario) -> dict[str, Accounts]:
    found = {}
    for who in WATCHERS:
        began = time.process_time()
        found[who] = Simulation(scenario, who).run()
        note(f"year: {_named(scenario)}, {who}: {time.process_time() - began:.0f} s of CPU")
    return found


def _named(scenario: Scenario) -> str:
    often = "" if scenario.often == 1 else f", everything {scenario.often:g} times as often"
    plural = "" if scenario.instances == 1 else "s"
    days = f"{scenario.days:g} days" if scenario.days >= 1 else f"{24 * scenario.days:.1f} hours"
    return f"{scenario.instances} instance{plural}, {days}{often}"


_HEADER = (
    "watcher",
    "could work",
    "jobs in time",
    "jobs",
    "lost",
    "begun again",
    "done twice",
    "false restarts a year",
)


def _row(who: str, found: Accounts, years: float) -> Sequence[str]:
    return (
        who,
        f"{100 * found.available:.3f} %",
        f"{100 * found.prompt:.3f} %",
        f"{sum(found.jobs.values()):,}",
        f"{sum(found.jobs[fate] for fate in _LOST):,}",
        f"{found.again:,}",
        f"{found.twice:,}",
        _false(found, years),
    )


def _false(found: Accounts, years: float) -> str:
    """Return the false restarts of an instance in a year, and the honest jobs that were asked to give up."""
    restarts = sum(found.false.values()) / years
    jobs = sum(count for name, count in found.interrupted.items()) / years
    return f"{restarts:.1f}" + (f", and {jobs:.1f} jobs asked to give up" if jobs else "")


def _listed(found: Accounts) -> str:
    """Return what was restarted for nothing, the most frequent first."""
    told = {fault.name: fault.told for fault in FAULTS}
    return "; ".join(f"{told.get(name, name)}: {count}" for name, count in found.false.most_common())


def _faults(found: Mapping[str, Accounts]) -> Iterable[Sequence[str]]:
    told = {fault.name: fault.told for fault in FAULTS} | {"hangs": "a start hangs"}
    ours = found[OURS]
    for name, text in told.items():
        if ours.befell[name]:
            again = (_times(found[who].mended[name]) for who in WATCHERS)
            yield text, f"{ours.befell[name]:,}", _times(ours.noticed[name]), *again


def _times(seconds: Sequence[float]) -> str:
    """Return the median and the worst, in words."""
    return f"{_told(statistics.median(seconds))}, {_told(max(seconds))}" if seconds else "-"


def _told(seconds: float) -> str:
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _others(rest: Iterable[tuple[Scenario, Mapping[str, Accounts]]]) -> Iterable[Sequence[str]]:
    for scenario, found in rest:
        years = scenario.instances * scenario.days * scenario.often / 365
        for who, each in found.items():
            yield _named(scenario), *_row(who, each, years)


def _rates() -> Iterable[Sequence[str]]:
    for fault in FAULTS:
        yield (
            fault.told,
            f"{fault.rate:g}",
            {"job": "an instance's jobs"}.get(fault.of, f"the {fault.of}"),
            fault.source,
        )


def _ours(
    main: Scenario, found: Mapping[str, Accounts], rest: Iterable[tuple[Scenario, Mapping[str, Accounts]]]
) -> Iterable[tuple[Scenario, Accounts]]:
    return [(scenario, each[OURS]) for scenario, each in ((main, found), *rest)]


def _missed(ours: Accounts) -> Iterable[str]:
    """Give what must not be, and was."""
    if ours.jobs["lost"]:
        yield f"{ours.jobs['lost']} jobs were lost"


def _series(found: Mapping[str, Accounts]) -> dict[str, Sequence[float]]:
    return {who: each.series() for who, each in found.items()}


def _unit(main: Scenario) -> str:
    return "week" if main.days >= 365 else f"{24 * main.days / 52:.0f} hours each"
