"""Who is watched: after the file that says so, whatever goes wrong with it or with a watch."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor import rpc
from comfy_supervisor.gpu.watch import Watch as GpuWatch
from comfy_supervisor.health import watched
from comfy_supervisor.health.listener import Roster
from comfy_supervisor.health.watch import Watch
from comfy_supervisor.health.watched import Watched
from tests.support import wait_until


@pytest.fixture
def one(tmp_path: Path) -> Watched:
    """Give an instance that nobody runs."""
    return Watched("comfyui", "cpu", "http://127.0.0.1:1", 1, str(tmp_path / "state"), str(tmp_path / "run"), "")


def _watch(each: Watched) -> Watch:
    return Watch(each, rpc.Supervisor("unix:///nowhere"), GpuWatch(), lambda *_: False, lambda _: None)


def _threads() -> int:
    return sum(thread.name.startswith("watch-") for thread in threading.enumerate())


def _write(file: Path, *instances: Watched) -> None:
    """Write the file anew, as render does: in one step, so that it is another file."""
    fresh = file.with_suffix(".new")
    fresh.write_text(watched.text(instances))
    fresh.replace(file)


def _run(file: Path, make: Callable[[Watched], Watch] = _watch) -> Roster:
    roster = Roster(file, make, GpuWatch())
    threading.Thread(target=roster.run, daemon=True).start()
    return roster


def test_whoever_is_in_the_file_is_watched_and_nobody_else(one: Watched, tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    _write(file, one)
    roster = _run(file)
    try:
        wait_until(lambda: roster.states().keys() == {"cpu"})
        _write(file, one, replace(one, id="gpu0"))
        wait_until(lambda: roster.states().keys() == {"cpu", "gpu0"})
        file.write_text("damaged")
        os.utime(file, (1, 1))
        _write(file, replace(one, id="gpu0"))
        wait_until(lambda: roster.states().keys() == {"gpu0"})
    finally:
        roster.end()
    wait_until(lambda: _threads() == 0)


def test_an_error_of_ours_is_said_and_does_not_end_it(
    one: Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where no thread is to be had for a while."""
    file = tmp_path / "health.json"
    _write(file, one)
    failures = [RuntimeError("can't start new thread")]

    def make(each: Watched) -> Watch:
        if failures:
            raise failures.pop()
        return _watch(each)

    roster = _run(file, make)
    try:
        wait_until(lambda: not failures)
        _write(file, one, replace(one, id="gpu0"))
        wait_until(lambda: roster.states().keys() == {"cpu", "gpu0"})
    finally:
        roster.end()
    assert "our own error: " in capsys.readouterr().err


def test_a_watch_that_hangs_is_said(one: Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As where the file system of its folders hangs; nobody else would notice."""
    file = tmp_path / "health.json"
    _write(file, one)
    made: list[Watch] = []
    roster = _run(file, lambda each: made.append(_watch(each)) or made[-1])  # type: ignore[func-returns-value]
    try:
        wait_until(lambda: made)
        roster.count(made[0].turned + 60)
        assert "not looked at" not in capsys.readouterr().err
        roster.count(made[0].turned + 200)
        assert "comfyui: not looked at for" in capsys.readouterr().err
    finally:
        roster.end()
