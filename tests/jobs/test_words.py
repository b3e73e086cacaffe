"""What the log says of jobs after a death."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfy_supervisor.jobs import words
from comfy_supervisor.jobs.job import Guilt, Job, Life, State, Waits

RAN = Job(1, "ran", 1.0, State.QUEUED, None, "", "", Waits.NOT, 1, 0, "", 0.0, 0.0)
BEHIND = replace(RAN, seq=2, prompt_id="behind", suspect=0)
DEAD = Life(1, "random/7", "boot", 7, 1.0, "extension", "", None)


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (RAN, "it is tried again last and alone (suspected of 1 death)"),
        (replace(RAN, suspect=0), "it is tried again first (no doing of its own)"),
        (replace(RAN, suspect=0, victim=2), "it is tried again first (ran at 2 deaths)"),
        (
            replace(RAN, state=State.QUARANTINED, suspect=2, victim=1),
            "it is set aside (suspected of 2 deaths, ran at 1 death): comfy-supervisor jobs retry ran",
        ),
        (replace(RAN, waits=Waits.OLD), "it waits for an operator (old): comfy-supervisor jobs retry ran"),
        (replace(RAN, state=State.DELETED), "its user had asked it to give up, so that it is not tried again"),
    ],
)
def test_what_becomes_of_a_job(job: Job, said: str) -> None:
    assert words.of_job(job) == said


def test_of_an_end_only_the_jobs_that_it_concerns_are_named() -> None:
    assert list(words.of_end(replace(DEAD, cause="stalled"), Guilt.SUSPECT, [RAN, BEHIND])) == [
        "ComfyUI's process 7 has ended (stalled): 2 of its 2 jobs are queued again",
        "job ran, suspect of that end: it is tried again last and alone (suspected of 1 death)",
    ]


def test_what_goes_without_its_keys_and_what_does_not_go_are_counted() -> None:
    jobs = [replace(BEHIND, secrets="api_key_comfy_org"), replace(BEHIND, waits=Waits.NEVER, secrets="x")]
    ended, lacking = words.of_end(DEAD, Guilt.VICTIM, jobs)
    assert ended == "ComfyUI's process 7 has ended: 1 of its 2 jobs are queued again"
    assert lacking.startswith("1 of them without the API keys that came with them")
