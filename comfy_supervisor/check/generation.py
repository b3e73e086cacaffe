"""A test generation: a workflow that ComfyUI is given behind all other jobs, its time, and the VRAM it took."""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..bounded import Client
from ..jobs.comfy import Comfy, Taken
from ..launch.lastword import cut
from .ask import ask
from .line import Line, fails, holds, unknown
from .vram import Peak, Watch
from .workflow import Graph, renewed

ITEM = "generation"
_BEHIND_ALL = 1e12
"""The job's number: ComfyUI takes the job with the smallest one."""
_MOST_SEED = 2**32 - 1
_POLL = 0.1
"""Seconds between two looks at the history, which is empty until it has ended."""
_LONGEST = 300
"""Characters of ComfyUI's own words."""


@dataclass(frozen=True)
class Run:
    """What became of it."""

    seconds: float
    """From the submission to its end, as a client sees it."""
    nodes: int
    cached: int = 0
    """Nodes whose results ComfyUI had already."""
    executed: float | None = None
    """Seconds from its begin to its end by ComfyUI's own clock; None: it doesn't say."""
    peak: Peak | None = None
    trouble: str = ""
    """Why it did not succeed."""


def run(url: str, graph: Graph, watch: Watch, patience: float) -> Run:
    """Run a workflow to its end; one that has not ended after ``patience`` seconds, or by Ctrl-C, is taken back."""
    prompt_id = str(uuid.uuid4())
    comfy = Comfy(url)
    with watch:
        began = time.monotonic()
        body = {"prompt": renewed(graph, random.randint(0, _MOST_SEED)), "extra_data": {}, "outputs": None}  # noqa: S311
        reply = comfy.submit(prompt_id, _BEHIND_ALL, body)
        if reply.taken is Taken.UNKNOWN:  # it may be in the queue all the same
            _take_back(comfy, prompt_id)
        if reply.taken is not Taken.YES:
            return Run(time.monotonic() - began, len(graph), trouble=f"was not taken: {reply.text}")
        entry = None
        try:
            entry = _ended(url, reply.prompt_id, began + patience)
        finally:
            if entry is None:
                _take_back(comfy, reply.prompt_id)
        seconds = time.monotonic() - began
    if entry is None:
        return Run(
            seconds, len(graph), peak=watch.peak, trouble=f"has not ended within {patience:g} s, and was taken back"
        )
    return understood(entry, Run(seconds, len(graph), peak=watch.peak))


def _ended(url: str, prompt_id: str, deadline: float) -> Mapping[str, Any] | None:
    """Return the history's entry once there is one; None: not until the deadline."""
    client = Client(url)
    try:
        while time.monotonic() < deadline:
            found = ask(client, f"/history/{prompt_id}").value
            if isinstance(found, dict) and isinstance(found.get(prompt_id), dict):
                return dict(found[prompt_id])
            time.sleep(_POLL)
    finally:
        client.close()
    return None


def _take_back(comfy: Comfy, prompt_id: str) -> None:
    """Have a job deleted that waits, or given up if it runs."""
    comfy.delete(prompt_id)
    queue = comfy.queue()
    if queue and prompt_id in queue.running:
        comfy.interrupt(prompt_id)


def understood(entry: Mapping[str, Any], so_far: Run) -> Run:
    """Return the run with what the history's entry tells of it, whatever that holds."""
    try:
        return _told(entry, so_far)
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
        return replace(so_far, trouble="its history has something else than what became of the job: is it ComfyUI?")


def _told(entry: Mapping[str, Any], so_far: Run) -> Run:
    """Return it of an entry as ComfyUI makes it (its execution.py); anything may be raised for another one."""
    status = entry.get("status") or {}
    messages = dict(status.get("messages") or ())
    begun = messages.get("execution_start", {}).get("timestamp")
    ended = messages.get("execution_success", {}).get("timestamp")
    executed = (ended - begun) / 1000 if begun and ended else None
    error = messages.get("execution_error", {})
    told = f"{error.get('node_type', '')}: {error.get('exception_message', '')}".strip(": \n")
    return replace(
        so_far,
        cached=len(messages.get("execution_cached", {}).get("nodes") or ()),
        executed=executed if executed is None or math.isfinite(executed) else None,
        trouble="" if status.get("status_str") == "success" else cut(f"failed: {told}", _LONGEST),
    )


def judge(found: Run, *, on_cpu: bool) -> Line:
    """Say whether it generates, in which time, with how much VRAM."""
    figures = {
        "seconds": round(found.seconds, 3),
        "executed_seconds": found.executed,
        "nodes": found.nodes,
        "cached_nodes": found.cached,
        "peak_vram_mib": found.peak.used_mib if found.peak else None,
        "vram_source": found.peak.source if found.peak else None,
    }
    if found.trouble:
        mend = "comfy-supervisor logs, explain; is it a workflow of this ComfyUI's nodes and models?"
        return fails(ITEM, found.trouble, mend, figures=figures)
    vram = found.peak.told if found.peak else ("no VRAM: it is on the CPU" if on_cpu else "VRAM: can't be told")
    inner = f", {found.executed:.1f} s of them ComfyUI's" if found.executed is not None else ""
    if found.nodes and found.cached >= found.nodes:
        text = f"ended after {found.seconds:.1f} s, but ComfyUI had each result already, and generated nothing"
        return unknown(ITEM, text, "a workflow with a seed, or another one", figures=figures)
    cached = f"; {found.cached} of {found.nodes} nodes were in ComfyUI's cache" if found.cached else ""
    return holds(ITEM, f"{found.seconds:.1f} s{inner}{cached}; {vram}", figures=figures)
