"""Who is watched: after the file that says so, whatever goes wrong with it or with a watch."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor import rpc
from comfy_supervisor.gpu.watch import Watch as GpuWatch
from comfy_supervisor.health import watched
from comfy_supervisor.health.listener import Roster
from comfy_supervisor.health.own_errors import OwnErrors
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


_begun: list[tuple[Roster, threading.Thread]] = []


def _begin(roster: Roster) -> Roster:
    thread = threading.Thread(target=roster.run, daemon=True)
    thread.start()
    _begun.append((roster, thread))
    return roster


def _run(file: Path, make: Callable[[Watched], Watch] = _watch) -> Roster:
    return _begin(Roster(file, make, GpuWatch()))


@pytest.fixture(autouse=True)
def nobody_goes_on() -> Iterator[None]:
    """End what a test has begun: other tests note what is decided in this process, and by whom."""
    yield
    while _begun:
        roster, thread = _begun.pop()
        roster.end()
        thread.join(30)
        roster.end()  # what it has begun to watch meanwhile
    wait_until(lambda: not _threads(), what="nobody watches")


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


def test_one_whose_settings_changed_waits_for_what_is_being_done_to_it(
    one: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[tuple[int, int]] = []
    monkeypatch.setattr(
        Watch, "follow", lambda self, earlier: followed.append((self.watched.port, earlier.watched.port))
    )
    file = tmp_path / "health.json"
    _write(file, one)
    roster = _run(file)
    try:
        wait_until(lambda: roster.states().keys() == {"cpu"})
        _write(file, replace(one, port=2), replace(one, id="gpu0"))
        wait_until(lambda: roster.states().keys() == {"cpu", "gpu0"})
        assert followed == [(2, 1)]
    finally:
        roster.end()


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


def test_a_process_whose_errors_go_on_makes_room_for_the_next(one: Watched, tmp_path: Path) -> None:
    """As where no thread or memory is to be had any more."""
    file, given_up = tmp_path / "health.json", threading.Event()
    _write(file, one)
    made: list[Watch] = []
    make = lambda each: made.append(_watch(each)) or made[-1]  # type: ignore[func-returns-value]  # noqa: E731
    roster = Roster(file, make, GpuWatch())
    roster.give_up = given_up.set
    _begin(roster)
    try:
        wait_until(lambda: made)
        made[0].errors.note(0.0)
        assert not given_up.is_set()
        for now in (10.0, 30.0):
            made[0].errors.note(now)
        assert given_up.wait(30)
    finally:
        roster.end()


@pytest.mark.parametrize(
    ("times", "go_on"),
    [
        ((0, 30), False),
        ((0, 1, 2, 3), False),
        ((0, 10, 20), True),
        ((0, 130, 260, 390), False),
        ((0, 130, 140, 150), True),
    ],
    ids=["two", "for a moment", "three", "far between", "of late"],
)
def test_errors_go_on_where_there_are_three_in_two_minutes_and_not_all_at_once(
    times: tuple[float, ...], go_on: bool
) -> None:
    errors = OwnErrors()
    for now in times:
        errors.note(now)
    assert errors.go_on is go_on


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


@pytest.mark.parametrize(
    ("stalls", "period"),
    [((180.0, 30.0), 5.0), ((180.0, 8.0), 2.0), ((0.5,), 1.0)],
    ids=["presets", "short", "shortest"],
)
def test_gpus_are_looked_at_before_a_job_may_count_as_stalled(
    one: Watched, tmp_path: Path, stalls: tuple[float, ...], period: float
) -> None:
    """Not for the sake of an instance that has none."""
    paces: list[float] = []

    class Gpus(GpuWatch):
        def look_every(self, period: float) -> None:
            paces.append(period)

    all_watched = [
        replace(one, id=f"gpu{n}", gpu=f"GPU-{n}", rules=replace(one.rules, stall_after=stall))
        for n, stall in enumerate(stalls)
    ]
    _write(tmp_path / "health.json", *all_watched, replace(one, rules=replace(one.rules, stall_after=0.1)))
    roster = Roster(tmp_path / "health.json", _watch, Gpus())
    _begin(roster)
    try:
        wait_until(lambda: paces == [period])
    finally:
        roster.end()
