"""Real processes for minutes or an hour: honest work without a fault, then faults at random."""

from __future__ import annotations

import json
import random
import shutil
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.fleet import fleet, words
from tests.bench.report import Report, load, note, table
from tests.cli.service import Service
from tests.support import wait_until

from .plan import Plan
from .results import ROOT
from .soak_faults import LISTENER, Event, Misfortune, Victim
from .soak_figures import Growth, Watcher
from .soak_load import Client, Sent, prefix

INSTANCES = 4
QUICK = 1.0
"""Minutes of a quick run."""
SETTLED = 600.0
"""Seconds until all that was accepted has to be over, afterwards."""
EVIDENCE = ROOT / "build" / "proof" / "soak"
"""Where what the service wrote is kept, if something was missed."""
_UNFINISHED = ("queued", "running")
_RESTART = {"budget": 1000, "first_delay": 1, "longest_delay": 1}
"""So many faults in a row would else end in a hold, as they ought to."""
_HOW = f"""\
{INSTANCES} stand-ins, a pretended GPU each, under one supervisord and one listener with the extension, `health.preset
= "fast"` (which waits least) and a budget of deaths that does not run out. Each always has work: short jobs, long
ones with progress, ones that use the CPU without a word, wait for another API or read a model, and its API is slow
now and then. Half of the time nothing is done to them, and nothing may be restarted; then faults at random strike
each of them, one after the other (a stall and held answers one instance at a time, since what befalls several alike
is no fault of theirs; while its listener finds it well, and without jobs for another API: a start may take ten
minutes, and such a job twenty), and none of its jobs may be lost: each that was accepted is in the journal
(`comfy-supervisor jobs list --all`) as done, and has left its file; or as failed; or as set aside. Flat: between the
median of the first third and that of the last, after a quarter of the time, a figure has grown by no more than is
tolerated; logs, incidents and ComfyUI's output, which are bounded otherwise, are left out."""


@dataclass(frozen=True)
class Half:
    """What was seen in one half."""

    name: str
    seconds: float
    restarts: int
    """Processes of ComfyUI and the listener that ended, as supervisord counts."""
    events: Sequence[Event]
    growths: Sequence[Growth]


def measure(plan: Plan) -> Report:
    """Soak; the faults and the work follow from the seed, as far as the machine's own chances allow."""
    seconds = 60.0 * (QUICK if plan.quick else plan.minutes) / 2
    before, sent = load(), Sent()
    jobs = {"extension": True}
    with fleet(INSTANCES, health={"preset": "fast"}, restart=_RESTART, jobs=jobs) as service:
        victims = [Victim(service, place, sent) for place in range(INSTANCES)]
        honest = _half("honest work, no fault", seconds, victims, plan.seed, faults=False)
        kinds, missed = dict(sent.kinds), _settle(service)
        faulty = _half("the same, and faults at random", seconds, victims, plan.seed + 1, faults=True)
        missed += _settle(service)
        found = _account(service, sent)
        missed += [*_missed(honest, faulty), *found.missed]
        if missed:
            _keep_evidence(service.state)
    parts = [f"{_HOW} Load {before} → {load()}.", _halves((honest, faulty)), _work(kinds), _faults(faulty.events)]
    parts += [found.text, *(f"{half.name}:\n\n{_flat(half.growths)}" for half in (honest, faulty))]
    return Report("\n\n".join(parts), missed)


def _half(name: str, seconds: float, victims: Sequence[Victim], seed: int, *, faults: bool) -> Half:
    note(f"soak: {name}, {seconds:.0f} s")
    service = victims[0].service
    before = _processes(service)
    watcher = Watcher(service)
    clients = [
        Client(victim.url, victim.sent, random.Random(seed * 100 + victim.place), spared=not faults)
        for victim in victims
    ]
    one = threading.Lock()
    misfortunes = [Misfortune(victim, random.Random(seed * 1000 + victim.place), one) for victim in victims if faults]
    began = time.monotonic()
    time.sleep(seconds)
    for misfortune in misfortunes:
        misfortune.end()
    for client in clients:
        client.end()
    growths, took = watcher.end(), time.monotonic() - began
    restarts = sum(before[name] != pid for name, pid in _processes(service).items())
    events = [event for misfortune in misfortunes for event in misfortune.events]
    return Half(name, took, restarts, events, growths)


def _processes(service: Service) -> Mapping[str, int]:
    names = (LISTENER, *(f"comfyui:gpu{place}" for place in range(INSTANCES)))
    return {name: service.info(name).pid for name in names}


def _settle(service: Service) -> list[str]:
    """Wait until all that was accepted is over; return what was missed."""
    note("soak: waiting for what is left")
    try:
        wait_until(lambda: not any(job["state"] in _UNFINISHED for job in _jobs(service)), SETTLED)
    except AssertionError:
        return [f"soak: jobs are left after {SETTLED:.0f} s: {', '.join(words(service))}"]
    return []


def _keep_evidence(state: Path) -> None:
    """Keep what was written down, for whoever wants to know why something was missed."""
    shutil.rmtree(EVIDENCE, ignore_errors=True)
    for file in state.rglob("*"):
        if file.suffix in (".json", ".jsonl", ".log"):
            target = EVIDENCE / file.relative_to(state)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    note(f"soak: how it came is in {EVIDENCE}")


def _jobs(service: Service) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(service.ok("jobs", "list", "--all", "--json"))
    return told


def _account(service: Service, sent: Sent) -> Report:
    """Return what became of every job that was accepted."""
    states = {job["id"]: job["state"] for job in _jobs(service)}
    files = _files(service.state)
    lost = [job for job, number in sent.jobs.items() if _is_lost(states.get(job, ""), files[prefix(number)])]
    counts = Counter(states.get(job, "unknown") for job in sent.jobs)
    twice = sum(files[prefix(number)] > 1 for number in sent.jobs.values())
    ends = sum(file.read_bytes().count(b"Prompt executed in") for file in (service.state / "logs").glob("gpu*"))
    shown = table(
        ("accepted", "done", "failed", "set aside", "lost", "done twice", "ends in ComfyUI's logs"),
        [
            (
                str(len(sent.jobs)),
                *(str(counts[state]) for state in ("done", "failed", "quarantined")),
                *map(str, (len(lost), twice, ends)),
            )
        ],
    )
    return Report(shown, [f"soak: lost {job} ({states.get(job, 'unknown')})" for job in lost])


def _is_lost(state: str, files: int) -> bool:
    return state not in {"failed", "quarantined"} and not (state == "done" and files)


def _files(state: Path) -> Counter[str]:
    """Return how many files each job has left."""
    return Counter(file.name.partition("_")[0] for file in state.parent.rglob("job-*.png"))


def _missed(honest: Half, faulty: Half) -> list[str]:
    missed = [f"soak: {honest.restarts} restarts without a fault"] if honest.restarts else []
    missed += [f"soak: not recovered in time: {event.fault}" for event in faulty.events if event.seconds is None]
    for half in (honest, faulty):
        missed += [f"soak, {half.name}: {each.figure} has grown" for each in half.growths if not each.flat]
    return missed


def _halves(halves: Iterable[Half]) -> str:
    rows = (
        (
            half.name,
            f"{half.seconds / 60:.1f} min",
            str(len(half.events)),
            "" if half.events else str(half.restarts),
        )
        for half in halves
    )
    return table(("half", "took", "faults", "restarts"), rows)


def _work(kinds: Mapping[str, int]) -> str:
    return "Without faults: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) + "."


def _faults(events: Sequence[Event]) -> str:
    """Return how long each kind of fault took until a new process answered."""
    by_fault: dict[str, list[float]] = {}
    for event in events:
        by_fault.setdefault(event.fault, []).extend([] if event.seconds is None else [event.seconds])
    rows = [
        (name, str(len(times)), f"{statistics.median(times):.1f} s", f"{max(times):.1f} s")
        for name, times in sorted(by_fault.items())
        if times
    ]
    return table(("fault", "times", "recovered after, median", "worst"), rows)


def _flat(growths: Iterable[Growth]) -> str:
    rows = (
        (each.figure, f"{each.first:.1f}", f"{each.last:.1f}", f"{each.tolerance:g}", "yes" if each.flat else "**no**")
        for each in growths
    )
    return table(("figure", "first third", "last third", "may grow by", "flat"), rows)
