"""A disk that stands still: nobody waits for it for long, and nothing is lost once it goes on."""

from __future__ import annotations

import errno
import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import writer
from comfy_supervisor.extension.comfy_supervisor_bridge.journal import Journal
from tests.support import wait_until

from .conftest import DONE, Bridged


def _stall(journal: Journal) -> threading.Event:
    """Have the disk stand still until the event is set; that it does is noticed when this returns."""
    goes_on = threading.Event()

    def stands_still() -> None:
        goes_on.wait(60)

    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr(writer, "PATIENCE", 0.05)
        journal._do(stands_still)
    return goes_on


@pytest.fixture
def stalled(bridged: Bridged) -> threading.Event:
    return _stall(bridged.journal)


def test_comfyui_goes_on_and_the_journal_catches_up(bridged: Bridged, stalled: threading.Event) -> None:
    for prompt_id in "abc":
        bridged.put(prompt_id)
    assert bridged.run(DONE) == "a"
    assert bridged.beat()["journal"] == "degraded"
    assert len(bridged.said) == 1
    assert "the disk takes more than" in bridged.said[0]
    stalled.set()
    wait_until(lambda: bridged.beat()["journal"] == "ok")
    wait_until(lambda: bridged.states(*"abc") == ["done", "queued", "queued"])
    assert bridged.said[1:] == ["the journal is written again"]


def test_no_beat_asks_more_of_a_disk_that_stands_still(bridged: Bridged, stalled: threading.Event) -> None:
    """What there is to do for it would grow with each."""
    bridged.put("a")
    left = bridged.journal._writer._deeds.qsize()
    for _ in range(3):
        bridged.beat()
    assert bridged.journal._writer._deeds.qsize() == left
    stalled.set()


def test_the_heart_goes_on_beating(bridged: Bridged, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would else seem that the interpreter is held."""
    goes_on = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: goes_on.wait(60))
    bridged.put("a")
    bridged.run(DONE)
    monkeypatch.setattr(writer, "PATIENCE", 0.05)
    assert bridged.beat()["journal"] == "degraded"
    assert bridged.beat()["journal"] == "degraded"
    goes_on.set()
    wait_until(lambda: bridged.beat()["journal"] == "ok")


def test_a_disk_that_can_not_be_synced_is_a_trouble_of_the_journals(
    bridged: Bridged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    bridged.put("a")
    bridged.run(DONE)
    assert bridged.beat()["journal"] == "degraded"
    assert "can't be written" in bridged.said[0]
    assert bridged.beat()["journal"] == "ok"
    assert bridged.states("a") == ["done"]


def test_when_a_job_was_begun_is_not_forgotten_when_stock_is_taken(bridged: Bridged) -> None:
    bridged.put("a")
    bridged.take()
    begun = bridged.row("a")["begun"]
    assert begun
    bridged.hooks.take_stock()
    assert bridged.row("a")["begun"] == begun


def test_a_job_that_comes_before_its_life_is_entered_is_that_lifes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would else be of a life that nobody knows, and never come back."""
    stalls, take_stock = list[threading.Event](), Journal.take_stock

    def takes_stock_late(journal: Journal, *queue: Any) -> None:
        stalls.append(_stall(journal))
        take_stock(journal, *queue)

    monkeypatch.setattr(Journal, "take_stock", takes_stock_late)
    bridged = Bridged(tmp_path)
    bridged.put("a")
    assert bridged.states("a") == ["unknown"]
    stalls[0].set()
    wait_until(lambda: bridged.states("a") == ["queued"])
    assert bridged.row("a")["life"] == 1


def test_too_much_to_keep_in_mind_is_entered_from_the_queue(
    bridged: Bridged, stalled: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST", 2)
    for prompt_id in "abcdef":
        bridged.put(prompt_id)
    stalled.set()
    wait_until(lambda: bridged.beat()["journal"] == "ok" and "unknown" not in bridged.states(*"abcdef"))


NORMAL, FULL = 1, 2
"""SQLite's: on the disk later, and before it is said to be written."""


def _how(bridged: Bridged) -> int:
    """Tell how the last change was written."""
    assert bridged.journal._connection
    how: int = bridged.journal._connection.execute("PRAGMA synchronous").fetchone()[0]
    assert bridged.journal._loose is (how == NORMAL)
    bridged.beat()
    assert not bridged.journal._loose, "a beat later, it is on the disk"
    return how


def test_what_a_user_was_told_is_on_the_disk_before_and_what_runs_and_ends_a_beat_later(bridged: Bridged) -> None:
    for prompt_id in "abc":
        bridged.put(prompt_id)
    assert _how(bridged) == FULL
    taken = bridged.take()
    assert taken
    assert _how(bridged) == NORMAL
    bridged.queue.task_done(taken[1], {}, status=DONE)
    assert _how(bridged) == NORMAL
    assert bridged.queue.delete_queue_item(lambda item: item[1] == "b")
    assert _how(bridged) == FULL
    bridged.run(DONE)
    assert _how(bridged) == NORMAL


def test_who_owns_the_folder_can_not_have_another_file_synced(bridged: Bridged) -> None:
    """Nor a pipe opened, on which it would stand still."""
    bridged.put("a")
    bridged.run(DONE)
    log = Path(f"{bridged.file}-wal")
    log.rename(bridged.folder / "elsewhere")
    log.symlink_to(bridged.folder / "elsewhere")
    assert bridged.beat()["journal"] == "degraded"
    assert "Too many levels of symbolic links" in bridged.said[0]


def test_what_there_is_too_much_of_to_be_kept_in_mind_is_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """So much may be left to do, beside what is being done."""
    monkeypatch.setattr(writer, "MOST", 2)
    monkeypatch.setattr(writer, "PATIENCE", 0.0)
    one, begun, goes_on, done = writer.Writer(), threading.Event(), threading.Event(), list[int]()

    def stands_still() -> None:
        begun.set()
        goes_on.wait(60)

    assert one.do(stands_still)
    assert begun.wait(60)
    assert [one.do(partial(done.append, number)) for number in range(4)] == [True, True, False, False]
    assert one.late
    monkeypatch.setattr(writer, "MOST", 1)
    assert not one.do(goes_on.set), "there may be more, where several have come at once"
    goes_on.set()
    wait_until(lambda: done == [0, 1])
    wait_until(lambda: not one.late)


def test_who_writes_holds_up_no_exit() -> None:
    """However long the disk stands still."""
    before = set(threading.enumerate())
    assert writer.Writer().do(lambda: None)
    (writing,) = set(threading.enumerate()) - before
    assert writing.daemon
