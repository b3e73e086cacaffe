"""What becomes of jobs, in words for the log: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .job import Guilt, Job, Life, State, Waits


def of_end(dead: Life, guilt: Guilt, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield what to say of a life's end, and of the jobs that it has left behind."""
    queued = [job for job in jobs if job.state is State.QUEUED and not job.waits]
    why = f" ({dead.cause})" if dead.cause else ""
    counts = f"{len(queued)} of its {len(jobs)} jobs"
    yield f"ComfyUI's process {dead.pid} has ended{why}: {counts} are queued again"
    if lacking := sum(bool(job.secrets) for job in queued):
        without = "the API keys that came with them, which are not kept: nodes that need one will fail"
        yield f"{lacking} of them without {without}"
    for job in jobs:
        if job.suspect or job.victim or job.state is not State.QUEUED:
            yield f"job {job.prompt_id}, {guilt.value} of that end: {of_job(job)}"


def of_job(job: Job) -> str:
    """Return what becomes of a job that ran at a life's end, or gave up when asked."""
    charged = charges(job)
    if job.state is State.QUARANTINED:
        return f"it is set aside ({charged}): comfy-supervisor jobs retry {job.prompt_id}"
    if job.waits is not Waits.NOT:
        return f"it waits for an operator ({job.waits.value}): comfy-supervisor jobs retry {job.prompt_id}"
    if job.state is State.DELETED:
        return "its user had asked it to give up, so that it is not tried again"
    return f"it is tried again {'last and alone' if job.suspect else 'first'} ({charged or 'no doing of its own'})"


def charges(job: Job) -> str:
    """Return the deaths of ComfyUI that a job has to do with; empty: none."""
    return ", ".join(filter(None, (_deaths("suspected of", job.suspect), _deaths("ran at", job.victim))))


def _deaths(how: str, count: int) -> str:
    return f"{how} {count} death{'s' if count > 1 else ''}" if count else ""
