"""The journal as it can be kept from outside: from what ComfyUI's queue shows now and then.

What comes and goes between two looks is never seen, and lost with ComfyUI; the extension has no such window.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ..extension.comfy_supervisor_bridge.rows import is_known
from .comfy import Server
from .job import SUBMITTED, Job, Life, State
from .journal import Journal

GONE = "no longer in the queue, nor in the history"


def here(journal: Journal, comfy: Server, life: Life) -> Collection[str | None] | None:
    """Return the ids of the jobs in a life's queue, None for those without any; None: it can't be told.

    What can't be read, the extension has written down as it came.
    """
    found = comfy.queue()
    if found is not None:
        return {*found.items, None} if found.nameless else found.items.keys()
    if comfy.unread and life.witness == "extension":
        return {job.prompt_id for job in journal.in_queue(life)}
    return None


def follow(
    journal: Journal, comfy: Server, life: Life, goes_on: Callable[[], bool], *, ends_doubt: bool = False
) -> bool:
    """Look at a life's queue, and write down what has changed since the last look; return whether that was seen.

    ``goes_on`` tells whether the life does: if so, what was answered before is its own answer. With ``ends_doubt``
    what was submitted, and is not there, does not come any more.
    """
    found = comfy.queue()
    if found is None or not goes_on():
        return False
    known = {job.prompt_id: job for job in journal.in_queue(life)}
    for prompt_id, item in found.items.items():
        state = State.RUNNING if prompt_id in found.running else State.QUEUED
        _note(journal, life, item, known.get(prompt_id), state)
    gone = [job for job in known.values() if job.prompt_id not in found.items]
    _see_off(journal, comfy, gone, goes_on, ends_doubt=ends_doubt)
    return True


def _note(journal: Journal, life: Life, item: list[Any], job: Job | None, state: State) -> None:
    """Write down what is seen of a job in the queue, where that is new; one of an odd form can't be."""
    if job is None:
        if is_known(item):
            journal.accept(item, life, state)
    elif job.state is not state or job.note == SUBMITTED:
        journal.moved(job, state)


def join(journal: Journal, comfy: Server, other: Life, life: Life, goes_on: Callable[[], bool]) -> bool:
    """Enter what was seen of a life, before it spoke for itself, as its own; return whether that could be done.

    It has entered what is in its queue: what is left of that has ended.
    """
    queued = here(journal, comfy, life)
    if queued is None or not goes_on():
        return False
    gone = [job for job in journal.in_queue(other) if job.prompt_id not in queued]
    _see_off(journal, comfy, gone, goes_on, ends_doubt=True)
    journal.merge(other, life)
    return True


def _see_off(
    journal: Journal, comfy: Server, gone: list[Job], goes_on: Callable[[], bool], *, ends_doubt: bool
) -> None:
    """Write down what became of jobs that have left the queue, the one that ran first."""
    poisoned = False
    for job in sorted(gone, key=lambda job: (job.state is not State.RUNNING, job.number)):
        ended = comfy.ended(job.prompt_id, job.number)
        if ended is None or not goes_on():
            break  # it can't be told now, nor what it means for those after it
        if ended.state is None and job.note == SUBMITTED:
            if ends_doubt:
                journal.unsubmitted(job)
            continue
        state, note = (ended.state, ended.note) if ended.state else (State.DELETED, GONE)
        if state is State.DELETED and job.asked.startswith(("listener", "obeyed")):
            journal.obeyed(job)
        elif ended.of_ruin:
            # the first was poisoned, or did it; those after it have not been tried
            journal.moved(job, State.QUEUED if poisoned else State.RUNNING, note)
            poisoned = True
        else:
            journal.moved(job, state, note)
