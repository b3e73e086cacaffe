"""Jobs and their times, from a real journal."""

from __future__ import annotations

import sqlite3
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_supervisor.figures import jobs
from comfy_supervisor.figures.jobs import Jobs, Kept
from comfy_supervisor.figures.numbers import Spread, nearest, spread
from comfy_supervisor.jobs.job import Guilt, Process, State
from comfy_supervisor.jobs.journal import BAND, DamagedError, Journal

NOW = 1_800_000_000.0
MANY = 100_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder of an instance whose journal is empty."""
    with closing(Journal(tmp_path)) as journal:
        journal.begin_life(Process("boot", 1, 1.0), NOW)
    return tmp_path


def enter(folder: Path, *rows: tuple[str, float, float, float]) -> None:
    """Enter jobs: their state, number, and when they were accepted and changed."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as sql, sql:
        named = ((f"{number}-{row[2]}", *row) for number, row in enumerate(rows))
        sql.executemany("INSERT INTO jobs (prompt_id, state, number, accepted, changed) VALUES (?, ?, ?, ?, ?)", named)


def test_without_a_journal_there_are_none_and_none_is_made(tmp_path: Path) -> None:
    assert jobs.read(tmp_path, 0.0) == (Jobs(), Kept())
    assert not list(tmp_path.iterdir())


def test_each_job_is_counted_by_how_it_ended(folder: Path) -> None:
    enter(
        folder,
        ("done", 1.0, NOW, NOW + 10),
        ("done", BAND + 3, NOW, NOW + 20),
        ("failed", 2.0, NOW, NOW + 30),
        ("deleted", 3.0, NOW, NOW + 40),
        ("quarantined", BAND, NOW, NOW + 50),
        ("running", 4.0, NOW, NOW),
        ("queued", 5.0, NOW, NOW),
        ("done", 0.0, NOW - 2000, NOW - 1000),
    )
    found, kept = jobs.read(folder, NOW)
    assert (found.done, found.failed, found.deleted, found.quarantined, found.rescued) == (2, 1, 1, 1, 1)
    assert kept == Kept(5, NOW - 1000)


def test_a_jobs_turn_is_when_the_one_before_has_ended_or_when_it_came(folder: Path) -> None:
    enter(
        folder,
        ("done", 0.0, NOW - 50, NOW + 5),
        ("done", 1.0, NOW, NOW + 20),
        ("failed", 2.0, NOW + 1, NOW + 21),
        ("deleted", 3.0, NOW + 2, NOW + 22),
        ("done", 4.0, NOW + 100, NOW + 130),
    )
    found, _ = jobs.read(folder, NOW + 10)
    assert list(found.ran) == [15.0, 30.0]
    assert list(found.waited) == [5.0, 19.0, 0.0]


def test_a_jobs_turn_is_when_it_was_begun_where_that_was_seen(folder: Path) -> None:
    """A pause, or ComfyUI's start, is no part of the time that it took."""
    enter(folder, ("done", 0.0, NOW, NOW + 100))
    with closing(sqlite3.connect(folder / "journal.sqlite")) as sql, sql:
        sql.execute("UPDATE jobs SET begun = ?", (NOW + 90,))
    found, _ = jobs.read(folder, NOW)
    assert (list(found.ran), list(found.waited)) == ([10.0], [90.0])


def test_a_clock_that_was_set_back_makes_no_time_negative(folder: Path) -> None:
    enter(folder, ("done", 0.0, NOW + 500, NOW), ("done", 1.0, NOW + 400, NOW + 1))
    found, _ = jobs.read(folder, 0.0)
    assert min(*found.ran, *found.waited) >= 0.0


def test_what_a_life_was_lost_over_is_rescued(tmp_path: Path) -> None:
    """As the journal itself writes it down."""
    with closing(Journal(tmp_path)) as journal:
        first = journal.begin_life(Process("boot", 1, 1.0), NOW)
        for name in ("one", "two"):
            journal.accept((1.0, name, {}, {}, []), first, State.QUEUED)
        second = journal.begin_life(Process("boot", 2, 2.0), NOW)
        journal.settle(first, Guilt.INNOCENT, lambda job: replace(job, life=None, state=State.QUEUED))
        for job in journal.to_submit():
            journal.found(job, second, State.DONE)
    found, _ = jobs.read(tmp_path, 0.0)
    assert (found.done, found.rescued) == (2, 2)


def test_a_damaged_journal_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(DamagedError, match="not a database"):
        jobs.read(tmp_path, 0.0)


def test_many_jobs_cost_little_memory(folder: Path) -> None:
    enter(folder, *(("done", float(each), NOW + each, NOW + each + 30) for each in range(MANY)))
    tracemalloc.start()
    try:
        found, _ = jobs.read(folder, 0.0)
        spread(found.ran)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.done == MANY
    assert peak < 16 * 1024 * 1024


class TestSpread:
    def test_of_nothing_there_is_none(self) -> None:
        assert spread([]) is None

    @pytest.mark.parametrize(
        ("values", "found"),
        [
            ([7.0], Spread(1, 7.0, 7.0, 7.0)),
            ([3.0, 1.0], Spread(2, 1.0, 3.0, 3.0)),
            (map(float, range(1, 101)), Spread(100, 50.0, 95.0, 100.0)),
        ],
    )
    def test_by_nearest_rank(self, values: list[float], found: Spread) -> None:
        assert spread(values) == found

    @given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0.01, 1.0))
    def test_it_is_the_least_value_that_so_many_do_not_exceed(self, values: list[float], share: float) -> None:
        ordered = sorted(values)
        found = nearest(ordered, share)
        assert found in ordered
        assert sum(each <= found for each in ordered) >= share * len(ordered) - 1e-9
        assert sum(each < found for each in ordered) < share * len(ordered)
