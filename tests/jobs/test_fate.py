"""What a death means for the jobs that it left behind: each cell of the table."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from comfy_supervisor.jobs import fate
from comfy_supervisor.jobs.fate import MET, SUSPECTED, Policy
from comfy_supervisor.jobs.job import SUBMITTED, Guilt, Job, State, Waits

NOW = 1_000_000.0
AGE = 100.0
QUEUED = Job(1, "a", 5.0, State.QUEUED, 1, "", "", Waits.NOT, 0, 0, "", NOW, NOW)
RUNNING = replace(QUEUED, state=State.RUNNING)
CELLS = list(
    itertools.product(
        Guilt,
        (QUEUED, RUNNING),
        ("", "user", "listener", "obeyed"),
        (0, 1, 2, 3),
        (0, 1, 2, 3),
        ("always", "crash", "never"),
        (NOW, NOW - AGE, NOW - AGE - 0.1, 1.0),
    )
)


def _waits(guilt: Guilt, replay: str, is_old: bool) -> Waits:
    if replay == "never":
        return Waits.NEVER
    if replay == "crash" and guilt is Guilt.INNOCENT:
        return Waits.ASKED_FOR
    return Waits.OLD if is_old else Waits.NOT


@pytest.mark.parametrize("guilt", Guilt)
def test_every_cell(guilt: Guilt) -> None:
    """Only what ran is charged; what its user gave up on is over; charges beyond measure set a job aside."""
    for cell in CELLS:
        if cell[0] is not guilt:
            continue
        _, plain, asked, suspect, victim, how, accepted = cell
        job = replace(plain, asked=asked, suspect=suspect, victim=victim, accepted=accepted)
        after = fate.after_death(job, guilt, Policy(how, AGE), NOW)
        assert after.life is None, cell
        ran = job.state is State.RUNNING
        if ran and asked == "user":
            assert (after.state, after.suspect, after.victim) == (State.DELETED, suspect, victim), cell
            continue
        charged = ran and (bool(asked) or guilt is Guilt.SUSPECT)
        met = ran and not asked and guilt is Guilt.VICTIM
        assert (after.suspect, after.victim) == (suspect + charged, victim + met), cell
        aside = after.suspect >= SUSPECTED or after.victim >= MET
        assert after.state is (State.QUARANTINED if aside else State.QUEUED), cell
        assert after.waits is (Waits.NOT if aside else _waits(guilt, how, accepted < NOW - AGE)), cell
        assert (after.asked, after.guessed) == ("", False), cell


@pytest.mark.parametrize("note", ["a note", "what was said of it", ""])
def test_what_was_noted_of_a_job_is_kept(note: str) -> None:
    """But not that nobody knows whether it was taken: now it was not."""
    for job, kept in ((QUEUED, note), (RUNNING, note), (replace(QUEUED, note=SUBMITTED), "")):
        after = fate.after_death(replace(job, note=job.note or note), Guilt.VICTIM, Policy(), NOW)
        assert after.note == kept


@pytest.mark.parametrize("suspect", [0, 1])
def test_one_that_gave_up_when_asked_is_suspected(suspect: int) -> None:
    after = fate.after_obeying(replace(RUNNING, asked="obeyed", suspect=suspect), Policy("crash", AGE), NOW)
    assert after.suspect == suspect + 1
    assert after.state is (State.QUARANTINED if suspect else State.QUEUED)
    assert (after.life, after.asked, after.waits) == (None, "", Waits.NOT)


@pytest.mark.parametrize(
    ("text", "guilt"),
    [
        ("", Guilt.VICTIM),
        ("stopped (terminated by SIGKILL)", Guilt.INNOCENT),
        ("exited: exit status 0; not expected", Guilt.VICTIM),
        ("exited: exit status 1; not expected", Guilt.SUSPECT),
        ("exited: terminated by SIGKILL; not expected", Guilt.VICTIM),
        ("exited: terminated by SIGTERM; not expected", Guilt.VICTIM),
        ("exited: terminated by SIGSEGV; not expected", Guilt.SUSPECT),
        ("exited: terminated by SIGABRT; not expected", Guilt.SUSPECT),
        ("exited: terminated by SIGBUS; not expected", Guilt.SUSPECT),
    ],
)
def test_what_supervisord_tells_of_an_end(text: str, guilt: Guilt) -> None:
    assert fate.by_ending(text) is guilt


@pytest.mark.parametrize(
    ("cause", "guilt"),
    [("process_stopped", Guilt.VICTIM), ("recycled", Guilt.INNOCENT), ("stalled", Guilt.SUSPECT), ("", Guilt.SUSPECT)],
)
def test_what_the_listener_ended_it_for(cause: str, guilt: Guilt) -> None:
    assert fate.by_cause(cause) is guilt


def test_who_is_only_thought_to_have_run_is_suspected_once() -> None:
    """From then on it is tried alone; beside others, it takes as many deaths as from outside."""
    job, seen = replace(RUNNING, guessed=True), []
    for _ in range(1 + MET):
        job = replace(fate.after_death(job, Guilt.SUSPECT, Policy(), NOW), state=State.RUNNING, guessed=True)
        seen.append((job.suspect, job.victim))
    assert seen == [(1, 0), (1, 1), (1, 2), (1, 3)]
    assert fate.after_death(replace(job, victim=1), Guilt.SUSPECT, Policy(), NOW).state is State.QUEUED
    alone = replace(job, victim=0, guessed=False)
    assert fate.after_death(alone, Guilt.SUSPECT, Policy(), NOW).state is State.QUARANTINED
