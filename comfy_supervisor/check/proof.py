"""The proof of recovery: ComfyUI is killed, and it is timed until it answers again."""

from __future__ import annotations

import time

from .. import rpc
from ..health.senses import probe, vitals
from ..rendered import Rendered
from .line import Line, fails, holds

ITEM = "recovery"
PATIENCE = 600.0
"""Seconds for the next life to answer: custom nodes may be many."""
_POLL = 0.1


def prove(supervisor: rpc.Supervisor, instance: Rendered, patience: float = PATIENCE) -> Line:
    """Kill an idle instance, and wait for its next life.

    It is a crash as any: it counts in restart.budget, leaves an incident, and is told as one.
    """
    before = supervisor.process(instance.program)
    if isinstance(before, rpc.Failure) or not before.pid or not probe.prompt(instance.url).ready:
        return fails(
            ITEM, "is not killed, since it does not answer as it is", f"comfy-supervisor start {instance.program}"
        )
    began = time.monotonic()
    killed = supervisor.signal(instance.program, "KILL")
    if killed is not True:
        return fails(ITEM, f"could not be killed: {killed or 'it ended by itself'}", "comfy-supervisor status")
    while time.monotonic() < began + patience:
        if _is_back(supervisor, instance, before.pid):
            seconds = time.monotonic() - began
            return holds(
                ITEM,
                f"killed (pid {before.pid}), and answering again after {seconds:.1f} s",
                figures={"seconds": round(seconds, 3)},
            )
        time.sleep(_POLL)
    found = f"killed (pid {before.pid}), and not back within {patience:g} s"
    return fails(ITEM, found, "comfy-supervisor status, logs, explain")


def _is_back(supervisor: rpc.Supervisor, instance: Rendered, killed: int) -> bool:
    """Tell whether another process than the killed one answers, and is ComfyUI's."""
    now = supervisor.process(instance.program)
    if isinstance(now, rpc.Failure) or now.pid in (0, killed) or vitals.launches(now.pid):
        return False
    return probe.prompt(instance.url).ready
