"""``report.md``: one page that tells an operator what happened, why, and what to do. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from ..launch.lastword import printable
from .incident import Incident, Jobs, Kind
from .mask import escaped

MOST_MOMENTS = 12
"""Verdicts that are shown: more would make it more than a page."""
MOST_IDS = 5
_QUIET = "-"


def report(incident: Incident) -> str:
    """Return the page. Its first line is the incident's headline."""
    sections = (_head, _meaning, _suspect, _timeline, _done, _jobs, _surroundings, _kept)
    return "\n\n".join("\n".join(lines) for section in sections if (lines := list(section(incident)))) + "\n"


def _head(incident: Incident) -> Iterator[str]:
    yield f"# {escaped_inline(incident.headline)}"
    yield ""
    yield f"- when: {utc(incident.at)} (UTC)"
    yield f"- instance: {incident.program} ({incident.instance}), process {incident.pid or 'unknown'}"
    yield f"- seen: {escaped_inline(incident.reason or _QUIET)}"
    if incident.ending:
        yield f"- its end, as supervisord has it: {escaped_inline(incident.ending)}"
    if incident.unrecorded:
        yield f"- {incident.unrecorded} more like it came right before it, and have no folder of their own"


def _meaning(incident: Incident) -> Iterator[str]:
    told = incident.explained
    if told is None:
        return
    yield "## Why, and what to do"
    yield ""
    if told.explanation:
        yield f"{told.cause}: {escaped_inline(told.explanation)}"
    if told.fix:
        yield ""
        yield f"**Mend:** {escaped_inline(told.fix)}"
    if told.also_possible:
        yield ""
        yield f"Also possible: {', '.join(map(escaped_inline, told.also_possible))}"
    yield from _evidence(told.evidence)
    other = incident.log_says
    if other:
        yield ""
        yield f"The log also speaks of {other.cause}: {escaped_inline(other.explanation)}"
        yield from _evidence(other.evidence)


def _evidence(lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
    for line in lines:
        yield f"    {escaped_inline(line)}"


def _suspect(incident: Incident) -> Iterator[str]:
    if incident.suspect is None:
        return
    suspect = incident.suspect
    yield "## The suspect"
    yield ""
    if suspect.node:
        yield f"- node: {escaped_inline(suspect.node)}, class {escaped_inline(suspect.class_type or 'unknown')}"
    if suspect.package:
        yield f"- custom-node package: {escaped_inline(suspect.package)}"
    if suspect.frame:
        yield f"- where: {escaped_inline(suspect.frame.told)}"
    for name, value in suspect.details:
        yield f"- {escaped_inline(name)}: {escaped_inline(value)}"
    yield f"- known from: {suspect.source}"


def _timeline(incident: Incident) -> Iterator[str]:
    if not incident.timeline:
        return
    yield "## Timeline"
    yield ""
    left_out = len(incident.timeline) - MOST_MOMENTS
    if left_out > 0:
        yield f"- … {left_out} earlier ones: incident.json has them"
    for moment in incident.timeline[-MOST_MOMENTS:]:
        deed = f" [{moment.deed}]" if moment.deed and moment.deed != "nothing" else ""
        yield f"- {moment.at[:19].replace('T', ' ')}: {moment.word}{deed}: {escaped_inline(moment.reason)}"


def _done(incident: Incident) -> Iterator[str]:
    yield "## What was done"
    yield ""
    if not incident.steps:
        yield f"- {_UNTOUCHED[incident.kind]}"
    for step in incident.steps:
        yield f"- {step.after:+.1f} s: {escaped_inline(step.what)}"


_UNTOUCHED = {
    Kind.RESTART: "nothing yet",
    Kind.CRASH: "supervisord starts it again",
    Kind.GAVE_UP: "it is held back; comfy-supervisor reset forgives it",
    Kind.GPU_FAULT: "it is held back; comfy-supervisor reset, once the GPU works",
    Kind.CONFIGURATION: "it is held back; comfy-supervisor reset, once that is mended",
}


def _jobs(incident: Incident) -> Iterator[str]:
    jobs = incident.jobs
    yield "## Jobs"
    yield ""
    yield f"- running: {escaped_inline(jobs.running) or 'none, as far as is known'}"
    if jobs.waiting:
        yield f"- waiting behind it: {_ids(jobs.waiting, jobs.more.get('waiting', 0))}"
    yield from _fates(jobs)


def _fates(jobs: Jobs) -> Iterator[str]:
    if not jobs.settled:
        if jobs.running or jobs.waiting:
            yield "- what becomes of them is decided at the next life's first answer"
        return
    fates = {
        "rescued": "rescued (queued again)",
        "charged": "charged",
        "quarantined": "quarantined",
        "kept": "kept for an operator",
    }
    for name, words in fates.items():
        ids = getattr(jobs, name)
        yield f"- {words}: {_ids(ids, jobs.more.get(name, 0)) if ids else 'none'}"


def _ids(ids: Sequence[str], more: int) -> str:
    """Return some of them, and how many there are; ``more`` are not even named in the record."""
    left_out = max(0, len(ids) - MOST_IDS) + more
    told = f" and {left_out} more" if left_out else ""
    return f"{len(ids) + more}: {', '.join(map(escaped_inline, ids[:MOST_IDS]))}{told}"


def _surroundings(incident: Incident) -> Iterator[str]:
    facts = {**incident.versions, **incident.figures}
    if not facts:
        return
    yield "## Surroundings"
    yield ""
    for name, value in facts.items():
        yield f"- {escaped_inline(str(name))}: {escaped_inline(str(value))}"


def _kept(incident: Incident) -> Iterator[str]:
    yield "## In this folder"
    yield ""
    yield f"- {', '.join(incident.files) or 'this page'}"
    if incident.brief:
        yield "- one of many in a row: only what was at hand was kept"
    for name, why in incident.missing.items():
        yield f"- not to be had: {escaped_inline(name)}: {escaped_inline(why)}"
    yield f"- made in {incident.seconds:.1f} s"


def utc(at: float) -> str:
    """Return a moment as people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def escaped_inline(text: str) -> str:
    """Return others' words in one line, which neither a terminal nor Markdown obeys."""
    return printable(escaped(text)).replace("`", "'").replace("<", "&lt;")
