"""Times in which nobody looked are written down, and no others."""

from __future__ import annotations

import json
from pathlib import Path

from comfy_supervisor.health import gaps
from comfy_supervisor.health.gaps import Gap, Gaps
from comfy_supervisor.health.ledger import STATUS

NOW = 1_800_000_000.0


def _written(folder: Path, at: float) -> None:
    (folder / STATUS).write_text(json.dumps({"at": at}))


def test_looks_that_follow_each_other_leave_no_gap(tmp_path: Path) -> None:
    _written(tmp_path, NOW - 5)
    book = Gaps(tmp_path)
    for seconds in range(0, 300, 5):
        book.look(NOW + seconds)
    assert not list(gaps.read(tmp_path))
    assert not (tmp_path / gaps.NAME).exists()


def test_the_time_between_two_listeners_is_a_gap(tmp_path: Path) -> None:
    _written(tmp_path, NOW - 3600)
    Gaps(tmp_path).look(NOW)
    assert list(gaps.read(tmp_path)) == [Gap(NOW - 3600, NOW)]


def test_a_machine_that_slept_leaves_a_gap(tmp_path: Path) -> None:
    book = Gaps(tmp_path)
    book.look(NOW)
    book.look(NOW + 5)
    book.look(NOW + 3605)
    assert list(gaps.read(tmp_path)) == [Gap(NOW + 5, NOW + 3605)]


def test_what_makes_no_sense_is_passed_over_and_a_link_not_followed(tmp_path: Path) -> None:
    (tmp_path / gaps.NAME).write_bytes(b'{"begin": 1, "end": "x"}\n\xff\n[]\n{"begin": 1, "end": 2}\n{"beg')
    assert list(gaps.read(tmp_path)) == [Gap(1.0, 2.0)]
    (tmp_path / f"{gaps.NAME}.1").symlink_to(tmp_path / gaps.NAME)
    assert len(list(gaps.read(tmp_path))) == 1


def test_a_folder_that_can_not_be_written_costs_the_note_alone(tmp_path: Path) -> None:
    book = Gaps(tmp_path / "gone")
    book.look(NOW)
    book.look(NOW + 3600)
    assert not list(gaps.read(tmp_path / "gone"))


def test_the_older_gaps_are_put_aside_and_still_read(tmp_path: Path) -> None:
    (tmp_path / gaps.NAME).write_text('{"begin": 1, "end": 2}\n' * 12_000)
    _written(tmp_path, NOW - 3600)
    Gaps(tmp_path).look(NOW)
    assert (tmp_path / f"{gaps.NAME}.1").exists()
    assert list(gaps.read(tmp_path))[-1] == Gap(NOW - 3600, NOW)
