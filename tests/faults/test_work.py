"""Faults of the work: jobs that stall, fail, or only take long; and what is done while there is none."""

from __future__ import annotations

import time

from tests.faults.patient import Patient, failing, loader, remote, sleeper
from tests.support import wait_until


def finish(patient: Patient, job: dict[str, object], outcome: str = "success") -> None:
    """Have a job done, to the end."""
    assert patient.finished(patient.submit(job))["status"]["status_str"] == outcome


def test_a_dead_worker_is_a_stall(well: Patient) -> None:
    """Fault 4, without the extension: R after ``stall.after`` and what an interrupt gets."""
    pid = well.pid()
    well.order("worker_dies")
    well.submit(sleeper(60))
    well.wait_for_restart(pid, "stalled", 30)


def test_a_stalled_job_is_asked_first_and_then_restarted(well: Patient) -> None:
    """Fault 5: R."""
    pid = well.pid()
    well.order("stall", deaf=True)
    prompt_id = well.submit(sleeper(60))
    assert prompt_id in well.wait_for_restart(pid, "stalled", 30)["reason"]
    assert [verdict["prompt_id"] for verdict in well.deeds("interrupt")] == [prompt_id]


def test_a_stalled_job_that_gives_up_when_asked_costs_no_restart(well: Patient) -> None:
    """N; and the job that waits behind it runs."""
    well.order("stall")
    prompt_id = well.submit(sleeper(60))
    waiting = well.submit(sleeper(60, burn=True))
    wait_until(lambda: well.deeds("interrupt"), 20, "no interrupt")
    well.order("recover")
    assert well.finished(prompt_id)["status"]["messages"][-1][0] == "execution_interrupted"
    well.wait_for(lambda: well.health()["running"] == waiting, 20)
    assert not well.restarts()


def test_a_job_that_computes_is_never_touched(well: Patient) -> None:
    """Fault 7, and CPU use without any progress message: N, and without the extension A after ``stall.alert_after``."""
    loud, silent = sleeper(2, burn=True), sleeper(4, burn=True, silent=True)
    finish(well, {**loud, "2": silent["1"]})
    well.wait_for_word("IDLE")
    assert not well.deeds("restart", "kill", "interrupt")
    assert well.alerts() == ["stalled"]


def test_a_model_that_is_read_slowly_is_never_touched(well: Patient) -> None:
    """Fault 8: N, though the process does nothing but read 2 MiB/s."""
    finish(well, loader(5, 2))
    well.wait_for_word("IDLE")
    assert not well.deeds("restart", "kill", "interrupt")


def test_a_node_that_waits_for_an_api_elsewhere_is_given_its_time(well: Patient) -> None:
    """N within ``stall.api_after``."""
    finish(well, remote(5))
    well.wait_for_word("IDLE")
    assert not well.deeds("restart", "kill", "interrupt")


def test_a_paused_queue_is_only_said(well: Patient) -> None:
    """A, and N."""
    well.order("pause")
    prompt_ids = [well.submit(sleeper(0.1)) for _ in range(2)]
    well.wait_for_alert("unknown", deadline=20)
    well.stays(1.5)
    assert "paused by somebody?" in well.health()["reason"]
    well.order("recover")
    for prompt_id in prompt_ids:
        well.finished(prompt_id)
    well.wait_for_word("IDLE")
    assert not well.restarts()


def test_a_poisoned_cuda_context_is_renewed_at_the_first_job_that_shows_it(well: Patient) -> None:
    """R within 10 s of that job, whatever waits behind it."""
    pid = well.pid()
    well.finished(well.submit(failing("cuda_poisoned")))
    began = time.monotonic()
    verdict = well.wait_for_restart(pid, "cuda_poisoned", 10)
    assert time.monotonic() - began < 30
    assert "illegal memory access" in verdict["reason"]


def test_other_cuda_errors_count_from_the_third_in_a_row_on(well: Patient) -> None:
    """Two: N. Three: R. A job that ends well in between begins the row anew."""
    pid = well.pid()
    error = failing("cuda_error")
    for job, outcome in ((error, "error"), (error, "error"), (sleeper(0), "success"), (error, "error")):
        finish(well, job, outcome)
    finish(well, error, "error")
    well.stays(2.0)
    assert not well.restarts()
    finish(well, error, "error")
    well.wait_for_restart(pid, "cuda_poisoned", 15)


def test_jobs_without_enough_memory_are_no_reason(well: Patient) -> None:
    """N, however many."""
    for _ in range(3):
        finish(well, failing("cuda_oom"), "error")
        well.stays(1.0)
    assert not well.restarts()


def test_an_old_process_is_renewed_when_there_is_no_job(patient: Patient) -> None:
    """R when idle, planned."""
    patient.settings(health={"recycle_after": 6.0})
    patient.up()
    pid = patient.pid()
    assert "health.recycle_after" in patient.wait_for_restart(pid, "recycled", 40)["reason"]
    assert not patient.health()["restarts"]
