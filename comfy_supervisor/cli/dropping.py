"""A job is dropped wherever it is: in the journal, or in the queue of a ComfyUI that runs."""

from __future__ import annotations

from contextlib import closing

from ..health.policy.evidence import Life
from ..health.senses import vitals
from ..jobs.comfy import Comfy
from ..jobs.job import FINISHED, SUBMITTED, Job
from ..jobs.journal import Journal
from .kept import Found

TRIES = 3
"""A job may change places while it is looked for: into the queue, or from there to work."""
PATIENCE = 5.0
"""Seconds for which ComfyUI's answer is waited for: somebody looks on."""
DROPPED = "dropped"
GONE = "is not in ComfyUI's queue any more"
SILENT = "stays: ComfyUI, which has it in its queue, does not answer"
RESTLESS = "can't be got hold of; try again"


def drop(found: Found, silent: set[str]) -> tuple[bool, str]:
    """Have a job never run again; return whether it won't, and what became of it. Raises JournalError.

    ``silent``: APIs that have not answered, and are not asked again; one more may come to them.
    """
    with closing(Journal(found.instance.state)) as journal:
        for _ in range(TRIES):
            job = journal.job(found.job.prompt_id)
            if job is None or job.state in FINISHED:
                return True, f"is {job.state.value} already" if job else "is forgotten already"
            if _is_in_queue(journal, job):
                done, what = _drop_from_queue(found.instance.url, journal, job.prompt_id, silent)
                if what == DROPPED:
                    journal.drop(job)  # where no extension has written it down already
                if what != GONE:
                    return done, what
                if job.note == SUBMITTED:
                    continue  # it may come there yet, and then nobody would know that it was dropped
                job = journal.job(found.job.prompt_id) or job  # it has left the queue, and would be submitted again
            if journal.drop(job):
                return True, DROPPED
    return False, RESTLESS


def _is_in_queue(journal: Journal, job: Job) -> bool:
    """Tell whether a job is in the queue of a ComfyUI that lives."""
    newest = journal.newest_life()
    if newest is None or job.life != newest.id:
        return False
    return vitals.goes_on(Life(newest.boot, newest.pid, newest.started))


def _drop_from_queue(url: str, journal: Journal, prompt_id: str, silent: set[str]) -> tuple[bool, str]:
    """Have ComfyUI delete a job that waits, or interrupt the one that runs."""
    deleted = False
    with closing(Comfy(url, PATIENCE)) as comfy:
        for _ in range(TRIES):
            here = None if url in silent else comfy.queue()
            if here is None:
                silent.add(url)
                return False, SILENT
            if prompt_id in here.running:
                journal.ask(prompt_id, by="user")
                heard = comfy.interrupt(prompt_id)
                return heard, f"runs, and {'is asked to give up' if heard else 'may not have heard that it is to end'}"
            if prompt_id not in here.items:
                return True, DROPPED if deleted else GONE
            deleted = comfy.delete(prompt_id)
    return False, RESTLESS
