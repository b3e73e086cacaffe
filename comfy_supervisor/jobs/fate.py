"""What a death of ComfyUI means for the job that ran: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .job import SUBMITTED, Guilt, Job, State, Waits

SUSPECTED = 2
"""Deaths as a suspect after which a job is set aside."""
MET = 3
"""Deaths from outside after which it is, too: the kernel's OOM killer comes from outside, and so does the power button
of a machine that a job brings down."""
_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGSTOP", "SIGXCPU")
"""Signals that somebody sends; the others are the process's own doing."""
_CAUSES = {"process_stopped": Guilt.VICTIM, "recycled": Guilt.INNOCENT}
"""What the listener ended a life for that was not its job's doing."""


@dataclass(frozen=True)
class Policy:
    """What the settings say of jobs."""

    replay: str = "always"
    """``always``, ``crash`` or ``never``."""
    max_age: float = 86400.0
    """Seconds."""


def by_cause(cause: str) -> Guilt:
    """Return what it says of the running job that the listener ended a life for this cause."""
    return _CAUSES.get(cause, Guilt.SUSPECT)


def by_ending(text: str) -> Guilt:
    """Return what it says of the running job that a life ended as supervisord tells; empty: it doesn't."""
    if text.startswith("stopped"):
        return Guilt.INNOCENT
    # a restart of ComfyUI-Manager's under a supervisor ends with status 0, and so may a job that calls exit
    if not text or text.startswith("exited: exit status 0;") or any(signal in text for signal in _OUTSIDE):
        return Guilt.VICTIM
    return Guilt.SUSPECT


def after_death(job: Job, guilt: Guilt, policy: Policy, now: float) -> Job:
    """Return what becomes of a job that a dead life has left behind; ``now`` in seconds since the epoch."""
    if job.state is State.QUEUED:
        return _again(job, guilt, policy, now)
    if job.asked == "user":
        return replace(job, state=State.DELETED, life=None, note="interrupted, and ComfyUI ended before it gave up")
    return _again(_charged(job, Guilt.SUSPECT if job.asked else guilt), guilt, policy, now)


def after_obeying(job: Job, policy: Policy, now: float) -> Job:
    """Return what becomes of a job that stood still, and gave up when the listener asked it to."""
    return _again(_charged(job, Guilt.SUSPECT), Guilt.SUSPECT, policy, now)


def _charged(job: Job, guilt: Guilt) -> Job:
    # one that is only thought to have run is tried alone from then on, and is not suspected again beside others
    if guilt is Guilt.SUSPECT and not (job.guessed and job.suspect):
        return replace(job, suspect=job.suspect + 1)
    return job if guilt is Guilt.INNOCENT else replace(job, victim=job.victim + 1)


def _again(job: Job, guilt: Guilt, policy: Policy, now: float) -> Job:
    """Return the job as it waits to be submitted again, or set aside."""
    aside = job.suspect >= SUSPECTED or job.victim >= MET
    state = State.QUARANTINED if aside else State.QUEUED
    waits = Waits.NOT if aside else _waits(job, guilt, policy, now)
    note = "" if job.note == SUBMITTED else job.note
    return replace(job, state=state, life=None, asked="", waits=waits, note=note, guessed=False)


def _waits(job: Job, guilt: Guilt, policy: Policy, now: float) -> Waits:
    if policy.replay == "never":
        return Waits.NEVER
    if policy.replay == "crash" and guilt is Guilt.INNOCENT:
        return Waits.ASKED_FOR
    return Waits.OLD if now - job.accepted > policy.max_age else Waits.NOT
