"""The journal's file under ComfyUI: gone, damaged, replaced, locked; ComfyUI goes on, and all is written down again."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import journal as extension_journal
from comfy_supervisor.extension.comfy_supervisor_bridge import life as bridge_life
from comfy_supervisor.extension.comfy_supervisor_bridge.journal import Journal as ExtensionJournal
from comfy_supervisor.jobs.job import Process
from comfy_supervisor.jobs.running import goes_on

from .conftest import INTERRUPTED, Bridged, failed


def _gone(file: Path) -> None:
    for each in file.parent.glob("journal.sqlite*"):
        each.unlink()


def _alone_gone(file: Path) -> None:
    file.unlink()


def _random(file: Path) -> None:
    _gone(file)
    file.write_bytes(os.urandom(50_000))


def _cut(file: Path) -> None:
    content = file.read_bytes()
    _gone(file)
    file.write_bytes(content[: len(content) // 2 + 100])


def _empty(file: Path) -> None:
    _gone(file)
    file.touch()


def _newer(file: Path) -> None:
    _gone(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")


def _folder(file: Path) -> None:
    _gone(file)
    file.mkdir()


def _link(file: Path) -> None:
    _gone(file)
    other = file.with_name("precious")
    other.write_text("precious")
    file.symlink_to(other)


def _companion(file: Path) -> None:
    _gone(file)
    other = file.with_name("precious")
    other.write_text("precious")
    file.with_name("journal.sqlite-wal").symlink_to(other)


@pytest.mark.parametrize("harm", [_gone, _alone_gone, _random, _cut, _empty, _newer, _folder, _link, _companion])
def test_a_journal_that_was_harmed_is_begun_anew(bridged: Bridged, harm: Callable[[Path], None]) -> None:
    """With all that is in the queue; what lay there is kept, and nothing that it leads to is touched."""
    for number, prompt_id in enumerate("abc"):
        bridged.put(prompt_id, float(number))
    bridged.take()
    with closing(sqlite3.connect(bridged.file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    harm(bridged.file)
    bridged.put("d", 9.0)
    for _ in range(3):  # ComfyUI's own process needs no more than a few beats
        told = bridged.beat()
    assert told["journal"] == "ok", bridged.said
    assert bridged.states("a", "b", "c", "d") == ["running", "queued", "queued", "queued"]
    assert bridged.run() == "b"
    assert bridged.states("b") == ["done"]
    if harm in (_random, _newer, _folder, _link):
        assert f"it is set aside as {next(bridged.folder.glob('journal.sqlite.bad-*'))}, and" in bridged.said[-1]
    if (bridged.folder / "precious").exists():
        assert (bridged.folder / "precious").read_text() == "precious"


def test_what_ended_while_nothing_could_be_written_is_written_afterwards(
    bridged: Bridged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another holds the lock: ComfyUI waits once, and goes on without."""
    monkeypatch.setattr(extension_journal, "PATIENCE", 0.05)
    bridged.hooks.take_stock()
    for number, prompt_id in enumerate("abcdef"):
        bridged.put(prompt_id, float(number))
    with closing(sqlite3.connect(bridged.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert bridged.run() == "a"
        assert len(bridged.said) == 1, "and nothing is tried until stock is taken"
        assert bridged.beat()["journal"] == "degraded"
        bridged.run(failed("no"))
        bridged.run(INTERRUPTED)
        assert bridged.queue.delete_queue_item(lambda item: item[1] == "e")
        bridged.put("g", 10.0)
        bridged.run(failed("CUDA error: unspecified launch failure"))
        assert bridged.beat()["journal"] == "degraded"
        assert len(bridged.said) == 1, "it is said once"
        other.execute("ROLLBACK")
    assert bridged.beat()["journal"] == "ok"
    assert bridged.states(*"abcdefg") == ["done", "failed", "deleted", "running", "deleted", "queued", "queued"]
    assert bridged.said[1:] == ["the journal is written again"]


def test_a_life_that_this_one_follows_in_its_process_was_ended_by_no_job(bridged: Bridged) -> None:
    """Also if a listener was about to end it, and was killed; what other processes ended of stays."""
    others = [replace(bridged.life, token="elsewhere", pid=8), replace(bridged.life, token="before", started=1.4)]
    next_one = replace(bridged.life, token="next")
    for life in (*others, next_one):
        bridged.execute("UPDATE lives SET cause = 'stalled', guilt = 'suspect'")
        journal = ExtensionJournal(str(bridged.file), life, bridged.said.append)
        assert journal.open()
        journal.take_stock([], [])
        journal._close()
    with closing(sqlite3.connect(bridged.file)) as connection:
        found = connection.execute("SELECT token, cause, guilt FROM lives ORDER BY id").fetchall()
    suspected = [(life.token, "stalled", "suspect") for life in others]
    assert found == [("token", "", "innocent"), *suspected, ("next", "", None)]


def test_a_life_is_that_of_its_process() -> None:
    """As the listener sees it from outside."""
    before = time.time()
    found = bridge_life.this_one()
    assert before <= found.began <= time.time()
    assert (found.boot, found.pid) == (Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.getpid())
    assert goes_on(Process(found.boot, found.pid, found.started))


def test_no_two_lives_have_one_name() -> None:
    """Though they may have one process; its image is told by both."""
    one, another = bridge_life.this_one(), bridge_life.this_one()
    (name, image), (other_name, other_image) = one.token.split("/"), another.token.split("/")
    assert (len(name), name == other_name, image) == (16, False, other_image)
    assert goes_on(Process(one.boot, one.pid, one.started, int(image)))
    assert int(image) > 0, "the kernel tells a process its own"
    assert (one.pid, one.started) == (another.pid, another.started)
    assert len({one, another}) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_hinders_nobody(bridged: Bridged) -> None:
    _gone(bridged.file)
    bridged.folder.chmod(0o500)
    try:
        assert bridged.beat()["journal"] == "degraded"
        bridged.put("a")
        assert bridged.run() == "a"
    finally:
        bridged.folder.chmod(0o700)
    assert bridged.beat()["journal"] == "ok"


def test_no_folder_hinders_nobody(tmp_path: Path) -> None:
    bridged = Bridged(tmp_path)
    bridged.journal._file = str(tmp_path / "none" / "journal.sqlite")
    for _ in range(2):
        bridged.hooks.take_stock()
        assert not bridged.journal.ok
    assert bridged.said[1:] == [], "it is said once"
    assert bridged.said[0].startswith("journal.sqlite can't be written ([Errno 2] No such file or directory")
    bridged.put("a")
    assert bridged.run() == "a"


def test_no_stock_is_taken_of_what_could_not_be_opened(bridged: Bridged) -> None:
    bridged.journal._close()
    bridged.journal.take_stock([], [])
    assert not bridged.journal.ok


@pytest.mark.parametrize("other", [-1, 1])
def test_another_file_in_its_place_is_noticed_though_nothing_is_written(bridged: Bridged, other: int) -> None:
    assert bridged.journal.is_ours()
    bridged.journal._inode += other
    assert not bridged.journal.is_ours()
    bridged.beat()
    assert bridged.journal.is_ours()


def test_a_file_that_is_opened_anew_is_let_go_of(bridged: Bridged) -> None:
    """Its locks with it, whoever still knows the connection."""
    former = bridged.journal._connection
    assert former
    bridged.hooks.take_stock()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        former.execute("SELECT 1")


def test_a_request_waits_a_moment_for_the_listener(bridged: Bridged) -> None:
    with closing(sqlite3.connect(bridged.file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.1, other.execute, ["ROLLBACK"])
        release.start()
        bridged.put("a")
        release.join()
    assert (bridged.states("a"), bridged.said) == (["queued"], [])


def test_what_is_in_the_queue_keeps_its_past_when_stock_is_taken(bridged: Bridged) -> None:
    bridged.put("a")
    bridged.execute("UPDATE jobs SET suspect = 1, victim = 2, accepted = 3.0")
    bridged.hooks.take_stock()
    row = bridged.row("a")
    assert (row["suspect"], row["victim"], row["accepted"], row["state"]) == (1, 2, 3.0, "queued")


def test_of_more_changes_than_are_kept_in_mind_the_last_are_taken_from_the_queue(
    bridged: Bridged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that ended, it is then known that they did, and no longer how."""
    monkeypatch.setattr(extension_journal, "_MOST_OWED", 2)
    for number, prompt_id in enumerate("abcdefg"):
        bridged.put(prompt_id, float(number))
    bridged.journal._fail(OSError("no disk"))
    bridged.run(failed("no"))
    for each in "bc":
        assert bridged.queue.delete_queue_item(lambda item, each=each: item[1] == each)
    assert bridged.beat()["journal"] == "ok"
    assert bridged.states(*"abcd") == ["failed", "deleted", "done", "queued"]
    taken = bridged.take()
    assert taken
    bridged.journal._fail(OSError("no disk"))
    bridged.queue.wipe_queue()  # one change, of three jobs
    bridged.queue.task_done(taken[1], {}, status=failed("no"))
    assert bridged.beat()["journal"] == "ok"
    assert bridged.states(*"defg") == ["done", "deleted", "deleted", "deleted"]
