"""What was done to an instance, as `watch` tells it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from comfy_supervisor.health.deeds import Deeds
from comfy_supervisor.health.ledger import DECISIONS


def append(folder: Path, *reasons: str, deed: str = "restart", begin: str = "", end: str = "\n") -> None:
    with (folder / DECISIONS).open("a") as file:
        file.write(begin)
        for reason in reasons:
            verdict = {"word": "RESTARTING", "deed": deed, "reason": reason}
            file.write(
                json.dumps({"v": 1, "at": "2026-01-02T03:04:05.678+00:00", "verdict": verdict}, separators=(",", ":"))
            )
            file.write(end)


def told(deeds: Deeds) -> list[str]:
    return [done.told for done in deeds.news()]


def test_each_is_told_once(tmp_path: Path) -> None:
    deeds = Deeds(tmp_path)
    assert told(deeds) == []
    append(tmp_path, "a", "b")
    append(tmp_path, "nothing was done", deed="nothing")
    (done, last) = deeds.news()
    assert (done.at.isoformat(), done.told) == ("2026-01-02T03:04:05.678000+00:00", "RESTARTING [restart]: a")
    assert last.told == "RESTARTING [restart]: b"
    assert told(deeds) == []
    append(tmp_path, "c", deed="alert")
    assert told(deeds) == ["RESTARTING [alert]: c"]


def test_none_is_lost_when_the_file_is_put_aside(tmp_path: Path) -> None:
    deeds = Deeds(tmp_path)
    append(tmp_path, "a")
    assert len(told(deeds)) == 1
    append(tmp_path, "b")
    (tmp_path / DECISIONS).rename(tmp_path / "aside")
    append(tmp_path, "c")
    assert [line[-1] for line in told(deeds)] == ["b", "c"]


def test_a_line_is_told_when_it_is_whole(tmp_path: Path) -> None:
    deeds = Deeds(tmp_path)
    append(tmp_path, "a", end="")
    assert told(deeds) == []
    append(tmp_path, "b", begin="\n")
    assert [line[-1] for line in told(deeds)] == ["a", "b"]


@pytest.mark.parametrize(
    "line", ['{"deed":', '{"verdict":{"deed":"restart"}}', '["deed":1]', '{"at":3,"verdict":{"deed":1}}']
)
def test_what_makes_no_sense_is_left_out(line: str, tmp_path: Path) -> None:
    (tmp_path / DECISIONS).write_text(f"{line}\n")
    append(tmp_path, "turn\x1b[31m red")
    assert told(Deeds(tmp_path)) == ["RESTARTING [restart]: turn [31m red"]


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_only_a_plain_file_is_read(kind: str, tmp_path: Path) -> None:
    file = tmp_path / DECISIONS
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        (tmp_path / "elsewhere").mkdir()
        append(tmp_path / "elsewhere", "a")
        file.symlink_to(tmp_path / "elsewhere" / DECISIONS)
    assert told(Deeds(tmp_path)) == []
