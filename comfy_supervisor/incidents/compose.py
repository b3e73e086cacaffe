"""From what was found to an incident and the texts beside it: pure, but for the catalogue's reading of the log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import catalogue
from ..catalogue import TELLS_NOTHING
from . import dumps, explain
from .dumps import Suspect
from .incident import Explained, Incident, Jobs, Kind, Moment, Step, new_id
from .mask import Mask
from .outside import Kept, Mark, Queue
from .parts import Findings

MOST_LINES = 400
"""Lines of the log before the event that are kept …"""
MOST_LINES_AFTER = 200
"""… and after it."""
_BRIEF_LINES = 50
LEFT = "was left behind by a supervisord that had ended, and was ended by the launcher before the next start"
"""What is seen of a life that nobody else saw the end of."""
_LONGEST_TEXT = 4096
"""Characters of a text in a graph that are kept: some hold whole pictures."""


@dataclass
class Case:
    """One incident in the making: what is known of it so far."""

    kind: Kind
    cause: str
    at: float
    """Seconds since the epoch."""
    instance: str
    program: str
    reason: str = ""
    word: str = ""
    deed: str = ""
    ending: str = ""
    pid: int = 0
    boot: str = ""
    started: float = 0.0
    now: float = 0.0
    """The moment by CLOCK_MONOTONIC."""
    running: str = ""
    """The prompt_id of the job that ran, as the watch has seen it."""
    mark: Mark = field(default_factory=Mark)
    """Where its log ended then."""
    stacks_from: int = 0
    """Where the extension's earlier dumps end in their file."""
    heartbeat: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    found: Findings = field(default_factory=Findings)
    stacks: str = ""
    """The extension's dump."""
    log_before: str = ""
    log_after: str = ""
    timeline: tuple[Moment, ...] = ()
    brief: bool = False
    unrecorded: int = 0

    def is_of(self, boot: str, pid: int, started: float) -> bool:
        """Tell whether it is about this process."""
        return (self.boot, self.pid, self.started) == (boot, pid, started)


def compose(case: Case, mask: Mask) -> tuple[Incident, dict[str, str]]:
    """Return the incident, and the texts to be kept beside it by name, the most telling ones first.

    ``mask`` is laid upon what becomes JSON before it does: in its text, an option and its value stand in two lines.
    """
    before = case.log_before.splitlines()[-(_BRIEF_LINES if case.brief else MOST_LINES) :]
    after = case.log_after.splitlines()[: _BRIEF_LINES if case.brief else MOST_LINES_AFTER]
    lines = [*before, *after] if case.kind is Kind.RESTART else before
    fatal = dumps.fatal(lines)
    log_says, details = explain.of_log(lines, case.ending)
    cause = _cause(case, log_says)
    incident = Incident(
        id=new_id(case.at, case.instance, cause),
        at=round(case.at, 3),
        instance=case.instance,
        program=case.program,
        kind=case.kind,
        cause=cause,
        reason=LEFT if _was_left(case) else case.reason,
        word=case.word,
        deed=case.deed,
        ending=case.ending,
        pid=case.pid,
        boot=case.boot,
        started=case.started,
        explained=log_says if log_says.cause == cause and log_says.explanation else explain.of_cause(cause),
        log_says=log_says if log_says.cause not in (cause, *TELLS_NOTHING) else None,
        suspect=_suspect(case, *((lines, details) if _is_of_the_log(case, cause, log_says) else ((), ())), fatal=fatal),
        timeline=case.timeline,
        steps=tuple(case.steps),
        jobs=_jobs(case),
        heartbeat=case.heartbeat,
        versions=_versions(case.found),
        figures=_figures(case.found),
        missing=dict(case.found.missing),
        brief=case.brief,
        unrecorded=case.unrecorded,
    )
    return incident, _texts(case, before, after, fatal, mask)


def _cause(case: Case, log_says: Explained) -> str:
    """Return the cause: the policy's, where it has seen one; of a mere end, what the log and the end itself say."""
    if case.cause not in TELLS_NOTHING and case.kind is not Kind.CRASH:
        return case.cause
    return log_says.cause if catalogue.ends(log_says.cause) else "unknown"


def _was_left(case: Case) -> bool:
    """Tell whether the next life's launcher says that it has ended this one: its supervisord was gone."""
    told = f"(pid {case.pid}), left from an earlier life"
    return case.kind is Kind.CRASH and not case.ending and told in f"{case.log_before}\n{case.log_after}"


def _is_of_the_log(case: Case, cause: str, log_says: Explained) -> bool:
    """Tell whether what the log speaks of is what happened, rather than a job's failure long before."""
    return log_says.cause == cause or case.kind is Kind.CRASH


def _suspect(case: Case, lines: Sequence[str], details: tuple[tuple[str, str], ...], *, fatal: str) -> Suspect | None:
    """Return what is to blame, as far as a stack, the log or the extension's last word tells."""
    spied = str(case.found.values.get("py-spy", ""))
    dumped = {"stacks": case.stacks, "py-spy": spied, "faulthandler": fatal}
    found = next(filter(None, (dumps.suspect(dumps.threads(text), name) for name, text in dumped.items())), None)
    if found is None:
        raised = dumps.tracebacks(lines)[-1:]
        found = dumps.suspect(raised, "traceback")
    node, class_type = str(case.heartbeat.get("node") or ""), str(case.heartbeat.get("class_type") or "")
    if found is None and not (node or details):
        return None
    source = "heartbeat" if node else "log"
    return replace(found or Suspect(source), node=node, class_type=class_type, details=details)


def _jobs(case: Case) -> Jobs:
    """Return the jobs of the life: the queue's own word first, then the journal's, then the extension's."""
    kept = case.found.values.get("journal")
    queue = case.found.values.get("queue")
    running = str(case.heartbeat.get("prompt_id") or "") or case.running
    waiting: tuple[str, ...] = ()
    if isinstance(kept, Kept):
        running = kept.running[0].prompt_id if kept.running else running
        waiting = tuple(job.prompt_id for job in kept.waiting)
    if isinstance(queue, Queue):
        running = queue.running[0] if queue.running else running
        waiting = queue.waiting
    return Jobs(running, waiting)


def _versions(found: Findings) -> Mapping[str, str]:
    return {**found.values.get("installed", {}), **found.values.get("system", {})}


def _figures(found: Findings) -> Mapping[str, Any]:
    """Return the sums of what the kernel and NVML have told."""
    tree, opened = found.values.get("processes", []), found.values.get("descriptors", {})
    figures: dict[str, Any] = {}
    if tree:
        figures["processes"] = len(tree)
        figures["threads"] = sum(row["threads"] for row in tree)
        figures["memory of its processes, MiB"] = sum(row["memory_mib"] for row in tree)
    if opened:
        figures["descriptors"] = f"{opened['open']} of {opened['limit'] or 'no limit'}"
    for name, value in found.values.get("machine", {}).items():
        figures[f"machine's {name}"] = value
    for use in found.values.get("gpu", []):
        busy = "" if use["utilization_percent"] is None else f", {use['utilization_percent']} % busy"
        figures[f"GPU {use['uuid']}"] = f"{use['memory_used_mib']} of {use['memory_total_mib']} MiB{busy}"
    return figures


def _texts(case: Case, before: Sequence[str], after: Sequence[str], fatal: str, mask: Mask) -> dict[str, str]:
    """Return the texts to be kept beside the record."""
    values = case.found.values
    queue, kept = values.get("queue"), values.get("journal")
    graph = queue.graph if isinstance(queue, Queue) and queue.graph else None
    if isinstance(kept, Kept) and kept.body:
        graph = kept.body.get("prompt", graph)
    process = {name: values[name] for name in ("processes", "descriptors", "machine") if name in values}
    gpu = {name: values[name] for name in ("gpu", "gpu-processes") if name in values}
    texts = {
        "log-before.txt": "\n".join(before),
        "log-after.txt": "\n".join(after),
        "stacks.txt": case.stacks,
        "stacks-py-spy.txt": str(values.get("py-spy", "")),
        "stacks-faulthandler.txt": fatal,
        "queue.json": _json({"running": queue.running, "waiting": queue.waiting} if queue else None, mask),
        "graph.json": _json(shortened(graph), mask),
        "process.json": _json(process, mask),
        "gpu.json": _json(gpu, mask),
    }
    return {name: f"{text}\n" for name, text in texts.items() if text}


def _json(value: Any, mask: Mask) -> str:
    """Return a value as JSON, without secrets; empty: there is nothing in it."""
    return json.dumps(mask.value(value), indent=1, default=str) if value else ""


def shortened(value: Any) -> Any:
    """Return a JSON value whose long texts are cut."""
    if isinstance(value, str):
        left = len(value) - _LONGEST_TEXT
        return value if left <= 0 else f"{value[:_LONGEST_TEXT]}… {left} characters more"
    if isinstance(value, Mapping):
        return {name: shortened(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(each) for each in value]
    return value
