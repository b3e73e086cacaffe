"""The parts, in the order in which they are run and stand in the documents."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench import commands, cost, explain, jobs, latency, peer
from tests.bench.report import Report

from . import faults, soak
from .mutation import measure as mutation
from .plan import Part, Plan
from .year import report as year


def _commands(plan: Plan) -> Report:
    """Have the part of the benchmark that a quick run has, too, take a plan."""
    return commands.measure(plan.repeat, quick=plan.quick)


def _once(measure: Callable[[int], Report]) -> Callable[[Plan], Report]:
    """Have a part whose rounds are minutes do one."""
    return lambda _plan: measure(1)


PARTS = (
    Part("faults", "reliability", "The faults to survive", faults.measure),
    Part("year", "reliability", "A simulated year", year.measure),
    Part("soak", "reliability", "A soak on real processes", soak.measure, apart=True),
    Part("mutation", "reliability", "Mutants, and whether the tests notice", mutation.measure, apart=True),
    Part("commands", "benchmarks", "The commands, as ratios to an empty Python start", _commands),
    Part("peer", "benchmarks", "Beside superlance's httpok", _once(peer.measure), in_quick=False),
    Part("cost", "benchmarks", "What the listener costs", _once(cost.measure), in_quick=False),
    Part("latency", "benchmarks", "What the probes cost ComfyUI's clients", _once(latency.measure), in_quick=False),
    Part("jobs", "benchmarks", "What it costs to lose no job", _once(jobs.measure), in_quick=False),
    Part("explain", "benchmarks", "Explaining a log", _once(explain.measure), in_quick=False),
)
