"""Jobs in words, and in values for programs: pure."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..jobs.comfy import submission
from ..jobs.job import FINISHED, Job, State, Waits
from ..jobs.words import charges
from ..launch.lastword import printable
from .common import duration
from .kept import Found

SHORTEST = 8
"""Characters of an id that are shown at least."""
TITLES = ("id", "instance", "state", "age", "since", "charges", "waits for", "note")
REASONS = {
    Waits.OLD: "older than jobs.max_age",
    Waits.NEVER: 'jobs.replay is "never"',
    Waits.ASKED_FOR: 'jobs.replay is "crash", and the stop was asked for',
}


def waits_for(job: Job) -> str:
    """Return what has to happen before a job is in ComfyUI's queue; empty: nothing."""
    if job.state is State.QUARANTINED:
        return "an operator: set aside"
    if job.waits is not Waits.NOT:
        return f"an operator: {REASONS[job.waits]}"
    if job.state is State.QUEUED and job.life is None:
        return f"ComfyUI, to be submitted again{', last and alone' if job.suspect else ''}"
    return ""


def short_ids(ids: Iterable[str]) -> Mapping[str, str]:
    """Return each id's beginning, as short as they can all be told apart."""
    wanted = list(dict.fromkeys(ids))
    length = SHORTEST
    while len({each[:length] for each in wanted}) < len(wanted):
        length += 1
    return {each: printable(each[:length]) for each in wanted}


def rows(found: Iterable[Found], now: float) -> Iterator[tuple[str, ...]]:
    """Yield the table's rows, under TITLES; ``now`` in seconds since the epoch."""
    listed = list(found)
    short = short_ids(each.job.prompt_id for each in listed)
    for program, job in ((each.instance.program, each.job) for each in listed):
        ages = (duration(max(0.0, now - at)) for at in (job.accepted, job.changed))
        state = job.state.value
        yield (
            short[job.prompt_id],
            program,
            state,
            *ages,
            charges(job) or "-",
            waits_for(job) or "-",
            printable(job.note),
        )


def value(found: Found) -> dict[str, Any]:
    """Return a job for programs; times in seconds since the epoch."""
    job = found.job
    return {
        "id": job.prompt_id,
        "program": found.instance.program,
        "instance": found.instance.id,
        "state": job.state.value,
        "in_queue": job.life is not None and job.state not in FINISHED,
        "waits": job.waits.value,
        "suspect": job.suspect,
        "victim": job.victim,
        "keys_not_kept": _keys(job),
        "note": job.note,
        "number": job.number,
        "accepted": job.accepted,
        "changed": job.changed,
    }


def request(job: Job, body: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what ``POST /prompt`` takes for a job; None: its graph is not kept."""
    return None if body is None else submission(job.prompt_id, body)


def keys(job: Job) -> str:
    """Return the names of the API keys that came with a job, and are not kept; empty: none."""
    return printable(", ".join(_keys(job)))


def _keys(job: Job) -> list[str]:
    return job.secrets.split(",") if job.secrets else []


def page(found: Found, body: dict[str, Any] | None, now: float) -> Iterator[str]:
    """Yield all there is to say of one job, a line each."""
    job = found.job
    facts = {
        "id": job.prompt_id,
        "instance": found.instance.program,
        "state": job.state.value,
        "accepted": _moment(job.accepted, now),
        "changed": _moment(job.changed, now),
        "charges": charges(job),
        "waits for": waits_for(job),
        "API keys": f"not kept: {keys(job)}" if job.secrets else "",
        "note": job.note,
        "nodes": "not kept" if body is None else _nodes(body["prompt"]),
    }
    for name, text in facts.items():
        if text:
            yield f"{name:<10} {printable(text)}"


def _moment(at: float, now: float) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))}, {duration(max(0.0, now - at))} ago"


def _nodes(graph: Mapping[str, Any]) -> str:
    """Return the classes of a graph's nodes, with their numbers where there are several."""
    classes = Counter(str(node.get("class_type", "?")) for node in graph.values() if isinstance(node, dict))
    return ", ".join(name if count == 1 else f"{name} x {count}" for name, count in classes.items())


def tallied(counts: Mapping[str, int]) -> str:
    """Return how many jobs are in which state, those in none left out."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
