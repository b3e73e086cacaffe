"""The part of the proof that is about faults: run them, and report."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable

from tests.bench.report import Report, load, note, table
from tests.proof.plan import Plan

from . import catalogue, pool, real, rivals, show

Found = tuple[str, list[str], dict[str, str]]
"""A text, what was missed, and plots."""
_HOW = """\
Each fault strikes a service as `comfy-supervisor up` renders it, with the extension and the stand-in, its times scaled
down (a tenth and less of the defaults, as tests/faults/patient.py has them), {at_once} services side by side, after a
delay of chance, while ComfyUI is idle or amid a job, as chance has it. Three honest jobs are queued with it: before it
where ComfyUI is not idle, else as soon as it works again; each leaves a picture whenever it is done, and they are
counted. What was expected was written down before the first run. After it, that of 36, 51 and 53 was put right: it
asked for something else than docs/health.md and docs/jobs.md promise; that of 19 and 55: it asked for evidence that the
fault itself takes away; and that of 23: a listener that is killed between word and deed may have the next one say it
again. What 6, 21, 28 and 34 do was put right, too: their own job came in between. R is one restart, N none, A an
alert. "Detected": from the fault to the listener's first decision about it. "Works again": to a new process's first
good answer. Both are the median of {rounds} rounds and, in brackets, the worst. A false restart is a new process that
nobody needed."""


def measure(plan: Plan) -> Report:
    """Have everything go wrong that is in the catalogue; a quick run has some of it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background would have ComfyUI ignore it
    before = load()
    chosen = [fault for fault in catalogue.ALL if fault.quick or not plan.quick]
    found, wrong = pool.run(chosen, plan)
    parts = [_HOW.format(at_once=pool.AT_ONCE, rounds=plan.repeat), f"Load {before} → {load()}."]
    if plan.quick:
        parts.append(f"This is a quick run: {len(chosen)} of {len(catalogue.ALL)} faults, those that take least.")
    for title, faults in catalogue.KINDS.items():
        rows = [show.row(fault, found[fault]) for fault in faults if fault in found]
        if rows:
            parts.append(f"### {title}\n\n{table(show.HEADER, rows)}")
    missed = [each for fault in chosen for each in show.missed(fault, found[fault])]
    told, wrong_with_real, _ = _safely(lambda: (*real.measure(plan), {}))
    compared, wrong_beside, drawn = _safely(lambda: rivals.measure(plan.repeat, quick=plan.quick))
    parts += [f"### A real ComfyUI\n\n{told}", f"### Beside others\n\n{compared}"]
    return Report("\n\n".join(parts), [*missed, *wrong, *wrong_with_real, *wrong_beside], drawn)


def _safely(part: Callable[[], Found]) -> Found:
    """Return what a part has found; one that fails takes what was found before it down with it no more."""
    try:
        return part()
    except Exception as error:  # noqa: BLE001  # of its wards: it is what was missed
        note(traceback.format_exc())
        return "It could not be tried.", [f"not tried: {error!s:.300}"], {}
