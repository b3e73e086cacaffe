"""What hold.json may hold, and for how long."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_supervisor.launch import holds, records
from comfy_supervisor.launch.holds import Hold
from comfy_supervisor.launch.records import MalformedError


def test_a_hold_is_read_as_it_was_written(tmp_path: Path) -> None:
    hold = Hold("gave_up", "drei Abstürze\nin einer Minute", 12.5, 99.0, by="listener")
    holds.write(str(tmp_path), hold)
    assert holds.read(str(tmp_path)) == hold
    assert json.loads((tmp_path / "hold.json").read_text())["v"] == 1
    assert os.listdir(tmp_path) == ["hold.json"]  # noqa: PTH208  nothing temporary is left


@pytest.mark.parametrize(
    ("now", "waited", "over"),
    [
        (1000.0, 0.0, False),
        (1059.9, 59.9, False),
        (1060.0, 0.0, True),
        (5000.0, 1.0, True),
        (10.0, 59.9, False),  # the clock was set back
        (10.0, 60.0, True),
    ],
)
def test_a_hold_is_over_at_its_time_by_either_clock(now: float, waited: float, over: bool) -> None:
    assert Hold("backoff", "", since=1000.0, until=1060.0).is_over(now, waited) is over


def test_a_hold_without_end_is_never_over() -> None:
    assert not Hold("maintenance", "", since=0.0).is_over(1e12, 1e12)


def test_only_the_named_hold_is_cleared(tmp_path: Path) -> None:
    mine, other = Hold("configuration", "mine", 1.0, by="launcher"), Hold("configuration", "mine", 1.0)
    holds.write(str(tmp_path), other)
    holds.clear(str(tmp_path), only=mine)
    assert holds.read(str(tmp_path)) == other
    holds.clear(str(tmp_path), only=other)
    assert holds.read(str(tmp_path)) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("looks", [[1], [2], [1, 2]])
def test_a_hold_that_comes_while_another_is_cleared_stays(
    looks: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else writes between two steps: after the first look, after the second one (aside), or after both."""
    mine = Hold("backoff", "mine", 1.0, by="launcher")
    theirs = [Hold("maintenance", f"new fans {number}", 1.0) for number in looks]
    holds.write(str(tmp_path), mine)
    genuine, count = records.read, iter(range(1, 10))

    def read(path: str) -> dict[str, object] | None:
        found = genuine(path)
        if next(count) in looks:
            holds.write(str(tmp_path), theirs[len(written)])
            written.append(path)
        return found

    written: list[str] = []
    monkeypatch.setattr(records, "read", read)
    holds.clear(str(tmp_path), only=mine)
    assert holds.read(str(tmp_path)) == theirs[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["hold.json"]


def test_a_hold_that_somebody_lifts_while_it_is_cleared_is_lifted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Hold("backoff", "mine", 1.0)
    holds.write(str(tmp_path), mine)
    genuine = records.read

    def read(path: str) -> dict[str, object] | None:
        found = genuine(path)
        records.remove(path)
        return found

    monkeypatch.setattr(records, "read", read)
    holds.clear(str(tmp_path), only=mine)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "record",
    [
        [],
        {},
        {"reason": "x", "text": "y"},
        {"reason": "x", "text": "y", "since": "now"},
        {"reason": "x", "text": "y", "since": True},
        {"reason": "x", "text": "y", "since": 1, "until": "later"},
        {"reason": "x", "text": "y", "since": 1, "until": float("nan")},
        {"reason": "x", "text": "y", "since": 1, "until": float("inf")},
        {"reason": "x", "text": "y", "since": 10**400},
    ],
)
def test_a_hold_that_makes_no_sense_is_malformed(record: object, tmp_path: Path) -> None:
    (tmp_path / "hold.json").write_text(json.dumps(record))
    with pytest.raises(MalformedError, match=r"hold\.json: "):
        holds.read(str(tmp_path))


@given(st.binary())
def test_any_bytes_are_a_hold_or_malformed(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "hold.json").write_bytes(content)
    with pytest.raises(MalformedError):
        holds.read(str(folder))


@pytest.mark.parametrize("content", ["[" * 60000, " " * 70000, "1" * 5000, "null", '"text"', ""])
def test_hostile_records_are_malformed(content: str, tmp_path: Path) -> None:
    (tmp_path / "hold.json").write_text(content)
    with pytest.raises(MalformedError):
        holds.read(str(tmp_path))


def test_a_folder_in_its_place_is_malformed_and_set_aside(tmp_path: Path) -> None:
    (tmp_path / "hold.json").mkdir()
    with pytest.raises(MalformedError, match="not a plain file"):
        holds.read(str(tmp_path))
    records.set_aside(holds.path(str(tmp_path)))
    assert (tmp_path / "hold.json.bad").is_dir()


def test_a_write_follows_no_link_that_somebody_has_laid(tmp_path: Path) -> None:
    """Root writes holds into a folder that belongs to ComfyUI's user."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"hold.json.{os.getpid()}.{threading.get_native_id()}.tmp").symlink_to(victim)
    (tmp_path / "hold.json").symlink_to(victim)
    holds.write(str(tmp_path), Hold("maintenance", "new fans", 1.0))
    assert victim.read_text() == "precious"
    assert not (tmp_path / "hold.json").is_symlink()


def test_a_link_that_comes_back_at_the_wrong_moment_is_not_followed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"hold.json.{os.getpid()}.{threading.get_native_id()}.tmp").symlink_to(victim)
    monkeypatch.setattr(records, "remove", lambda _: None)
    with pytest.raises(FileExistsError):
        holds.write(str(tmp_path), Hold("maintenance", "new fans", 1.0))
    assert victim.read_text() == "precious"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "hold.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        holds.write(str(tmp_path), Hold("maintenance", "new fans", 1.0))
    assert [path.name for path in tmp_path.iterdir()] == ["hold.json"]


@pytest.mark.parametrize("lay", [os.mkfifo, lambda path: Path(path).symlink_to("/dev/zero")])
def test_neither_a_pipe_nor_a_link_is_read(lay: Callable[[str], None], tmp_path: Path) -> None:
    """ComfyUI's account owns the folder: it must neither stop nor fool root, who reads there."""
    lay(holds.path(str(tmp_path)))
    with pytest.raises(MalformedError):
        holds.read(str(tmp_path))


def test_a_link_is_not_read_either_where_it_leads_to_a_record(tmp_path: Path) -> None:
    """Somebody else's would be told as this instance's."""
    (tmp_path / "another").mkdir()
    holds.write(str(tmp_path / "another"), Hold("maintenance", "a secret", 1.0))
    (tmp_path / "hold.json").symlink_to(tmp_path / "another" / "hold.json")
    with pytest.raises(MalformedError):
        holds.read(str(tmp_path))
