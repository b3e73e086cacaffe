"""What one look at ComfyUI itself tells: whether its process, its API and its work move. Pure.

The functions here write into a copy of the state that nobody else has: a new one for each of them would be most
of the cost.
"""

from __future__ import annotations

from typing import Any

from .evidence import FAILING, Failure, Finished, Observation, Reply, Sample, State, Vitals, Word
from .rules import Rules

RELIABLE = 3
"""So many good answers in a row end the doubts that a bad one raised."""
STARVED = 0.5
"""CPUs that are used or waited for: on a machine with too much to do, who works hard may get next to none. More than
what counts where all get theirs, since there each answer to a question of ours has to wait for a CPU, too."""
_MIB = 1024 * 1024
_LASTING = frozenset({"slowly-on-the-cpu"})
"""Alerts of what does not pass: good health is no reason to repeat them."""


def note(state: State, **changes: Any) -> None:
    """Write into a state that nobody else has."""
    vars(state).update(changes)


def foreign(seen: Observation) -> bool:
    """Tell whether somebody else answers in the instance's place."""
    if seen.vitals is None or seen.vitals.listens is not False:
        return False
    return seen.reply not in (Reply.REFUSED, Reply.TIMEOUT, Reply.UNASKED)


def tells(seen: Observation) -> bool:
    """Tell whether what was seen can be held against the instance."""
    debugged = seen.vitals is not None and seen.vitals.status == "t"
    return not (seen.reply is Reply.UNASKED or debugged or foreign(seen))


def work_in(state: State, seen: Observation, now: float, rules: Rules) -> None:
    """Work in what was seen of ComfyUI itself."""
    _vitals(state, seen, now, rules)
    if seen.log != state.log:
        note(state, log=seen.log, log_moved=now)
    note(state, reply=seen.reply)
    if tells(seen):
        _answer(state, seen, now)
        _finished(state, seen, now)
        _job(state, seen, now)
    _health(state, seen, now, rules)


def _vitals(state: State, seen: Observation, now: float, rules: Rules) -> None:
    """Tell whether the process does anything, and since when it is stopped."""
    vitals = seen.vitals
    if vitals is None:
        note(state, active=now, activity="can't be looked at", samples=(), frozen=None)
        return
    note(state, frozen=_since(state.frozen, vitals.status == "T", now))
    activity = _activity(state, vitals, seen, now, rules)
    if activity:
        note(state, active=now, activity=activity)


def _since(since: float | None, holds: bool, now: float) -> float | None:
    """Return since when something holds, None if it does not."""
    if not holds:
        return None
    return now if since is None else since


def _activity(state: State, vitals: Vitals, seen: Observation, now: float, rules: Rules) -> str:
    """Return what the process does, in words; empty: nothing.

    A use of the GPU by its own processes counts here, never as progress: a hung kernel keeps it at 100 %.
    """
    fell = bool(state.samples) and (vitals.cpu < state.samples[-1].cpu or vitals.io < state.samples[-1].io)
    samples = (*(() if fell else _window(state.samples, now - rules.active_window)), _sample(vitals, now))
    note(state, samples=samples)
    if vitals.waits_for_disk:
        return "waits for a disk"
    if seen.gpu and seen.gpu.percent:
        return f"uses {seen.gpu.percent} % of its GPU"
    return "has ended a child" if fell else _pace(samples[0], samples[-1], rules)


def _sample(vitals: Vitals, now: float) -> Sample:
    return Sample(now, vitals.cpu, vitals.io, vitals.faults, vitals.waited)


def _window(samples: tuple[Sample, ...], start: float) -> tuple[Sample, ...]:
    """Return the samples from the last one before ``start`` on: however rare the looks, there is one to compare."""
    while len(samples) > 1 and samples[1].at <= start:
        samples = samples[1:]
    return samples


def _pace(first: Sample, last: Sample, rules: Rules) -> str:
    seconds = last.at - first.at
    if seconds < min(1.0, rules.active_window / 2):
        return ""
    cores, pace = (last.cpu - first.cpu) / seconds, (last.io - first.io) / seconds
    if cores >= rules.active_cores:
        return f"uses {cores:.2f} of a CPU"
    if cores + (last.waited - first.waited) / seconds >= STARVED:
        return f"has to wait for a CPU, and uses {cores:.2f} of one"
    if pace >= rules.active_bytes:
        return f"reads and writes {pace / _MIB:.1f} MiB/s"
    return "reads pages from a disk" if last.faults > first.faults else ""


def _answer(state: State, seen: Observation, now: float) -> None:
    if seen.reply is Reply.GOOD:
        reliable = state.answered is None or state.good + 1 >= RELIABLE
        note(state, answered=now, failing=None, good=state.good + 1, shaky=None if reliable else state.shaky)
    elif seen.reply in FAILING:
        note(state, failing=_since(state.failing, True, now), good=0, shaky=_since(state.shaky, True, now))
    else:
        note(state, failing=None, good=0)  # strange, but answered


def _job(state: State, seen: Observation, now: float) -> None:
    """Tell whether the work moves: a first job, another running one, the extension's word.

    Fewer jobs alone are no progress, since waiting ones can be deleted; and another running job is none where the
    end of the one before was seen: it has run since then.
    """
    if seen.queue is None:
        return
    running = seen.running.prompt_id if seen.running else ""
    known = seen.queue_seen or not seen.queue
    changed = known and running != state.running
    if not state.queue or (changed and not state.over) or seen.progress > state.extension_progress:
        note(state, progress=now, interrupted=None, extension_progress=max(seen.progress, state.extension_progress))
    if known:
        waits = seen.queue > 0 and not running and not seen.held
        over = state.over and not changed and bool(running)  # where none runs, the next one begins when it does
        note(state, running=running, over=over, paused=_since(state.paused, waits, now))
    note(state, queue=seen.queue, idle=_since(state.idle, not seen.queue, now))


def _finished(state: State, seen: Observation, now: float) -> None:
    """Work in the jobs that ended since the look before, each once."""
    last = seen.finished
    if last is None or last.prompt_id == state.finished:
        return
    for job in _since_job(state.finished, (*seen.earlier, last)):
        cuda_errors = state.cuda_errors + 1 if job.failure is Failure.CUDA else 0
        note(state, cuda_errors=cuda_errors, poisoned=_sticky(job) or state.poisoned)
    note(state, finished=last.prompt_id, over=True, progress=now, interrupted=None)


def _since_job(known: str, jobs: tuple[Finished, ...]) -> tuple[Finished, ...]:
    """Return the jobs after the one that is known; all of them, if it isn't among them."""
    ids = [job.prompt_id for job in jobs]
    return jobs[ids.index(known) + 1 :] if known in ids else jobs


def _sticky(job: Finished) -> str:
    return f"job {job.prompt_id} ended with: {job.text}" if job.failure is Failure.STICKY else ""


def _health(state: State, seen: Observation, now: float, rules: Rules) -> None:
    """After long enough in good health, what was before counts no more."""
    well = state.word in (Word.IDLE, Word.BUSY) and state.cause == "healthy" and seen.reply is Reply.GOOD
    note(state, healthy=_since(state.healthy, well, now))
    if state.healthy is not None and now - state.healthy >= rules.healthy_after:
        lasting = tuple(name for name in state.alerted if name in _LASTING)
        note(state, row=0, given_up=False, next_try=None, alerted=lasting)
