"""Honest work is never restarted."""

from __future__ import annotations

import pytest

from comfy_supervisor.health.policy.evidence import Patience, Word
from comfy_supervisor.health.policy.rules import Rules

from .looks import (
    DEAF,
    MIB,
    REFUSED,
    Day,
    runs,
)

HOURS = 3600.0


def test_a_minute_of_cpu_without_progress() -> None:
    day = Day().working()
    day.run(60, cores=1.0, **runs())
    assert day.done() == []
    assert day.word() is Word.BUSY


def test_a_minute_of_a_dead_api_with_the_cpu_burning() -> None:
    day = Day().working()
    day.run(60, cores=1.0, **DEAF)
    day.run(60, **runs(), cores=1.0)
    assert day.done() == []


def test_forty_minutes_of_progress() -> None:
    day = Day().working()
    day.run(2400, each=lambda at: {"progress": 1000 + at // 60 * 60}, **runs())
    assert day.done() == []
    assert day.word() is Word.BUSY


def test_five_minutes_of_reading_a_model_at_2_mib_a_second() -> None:
    day = Day().working()
    day.run(300, pace=2 * MIB, **runs())
    assert day.done() == []


@pytest.mark.parametrize("body", [{"waits_for_disk": True}, None])
def test_a_model_read_over_a_slow_disk(body: dict[str, bool] | None) -> None:
    day = Day().working()

    def each(_: float) -> dict[str, object]:
        day.faults += 1
        return {}

    day.run(1200, **runs(), body=body, each=None if body else each)
    assert day.done() == []


def test_twenty_minutes_of_silence_at_an_api_elsewhere() -> None:
    day = Day().working()
    day.run(1200, **runs(patience=Patience.REMOTE))
    assert day.done() == []


def test_a_start_of_15_minutes_whose_log_moves() -> None:
    day = Day()
    day.run(900, age=0.0, log=100, **REFUSED)
    day.run(60)
    assert day.done() == []
    assert day.word() is Word.IDLE


def test_looks_rarer_than_the_window_still_see_a_process_work() -> None:
    day = Day(Rules(probe_every=25, suspect_every=25)).working()
    day.run(1200, cores=0.5, **runs())
    assert day.done() == []


def test_activity_that_returns_after_the_interrupt_saves_the_job() -> None:
    day = Day().working()
    day.run(185, **runs())
    assert day.done() == ["interrupt"]
    assert day.word() is Word.STALLED
    day.run(120, cores=1.0, **runs())
    assert day.done() == ["interrupt"]
    assert day.word() is Word.BUSY


def test_a_job_that_gives_up_saves_the_process() -> None:
    day = Day().working()
    day.run(185, **runs())
    day.run(120, **runs("job-2"))
    assert day.done() == ["interrupt"]


def test_who_has_to_wait_for_a_cpu_is_not_taken_for_idle() -> None:
    """On a machine with forty times the work that it has CPUs for, a node that never rests gets next to none."""
    day = Day().working()
    day.run(HOURS, cores=0.02, starved=0.9, **runs())
    assert day.done() == ["alert"]
    assert "has to wait for a CPU" in day.verdict.reason


def test_a_machine_with_too_much_to_do_is_no_excuse_for_a_deadlock() -> None:
    """Its other threads still answer our questions, and wait for a CPU each time."""
    day = Day().working()
    day.run(HOURS, cores=0.01, starved=0.3, **runs())
    assert day.done() == ["interrupt", "restart"]
