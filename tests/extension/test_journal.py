"""The journal's file under ComfyUI: gone, damaged, replaced, locked; ComfyUI goes on, and all is written down again."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import journal as extension_journal
from comfy_supervisor.extension.comfy_supervisor_bridge import store

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
        assert list(bridged.folder.glob("journal.sqlite.bad-*"))
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
    bridged.hooks.take_stock()
    assert not bridged.journal.ok
    bridged.put("a")
    assert bridged.run() == "a"


def test_a_loose_mode_is_made_strict(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    store.connect(str(file), 1.0)[0].close()
    file.chmod(0o644)
    store.connect(str(file), 1.0)[0].close()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mine", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_two_that_begin_it_at_once_wait_for_each_other(tmp_path: Path, mine: int) -> None:
    """SQLite says that a new file is locked, and waits for nobody, while another makes it."""
    file = tmp_path / "journal.sqlite"
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, mine)
        with pytest.raises(sqlite3.OperationalError, match="its folder is locked"):
            store.connect(str(file), 0.05)
        assert not file.exists()
    finally:
        os.close(folder)
    store.connect(str(file), 0.05)[0].close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another")
def test_it_belongs_to_whom_its_folder_does(tmp_path: Path) -> None:
    """The listener may make it first, as root, and ComfyUI's account is to write it."""
    os.chown(tmp_path, 12345, 23456)
    with closing(store.connect(str(tmp_path / "journal.sqlite"), 1.0)[0]) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("COMMIT")
        owners = {(each.stat().st_uid, each.stat().st_gid) for each in tmp_path.glob("journal.sqlite*")}
    assert owners == {(12345, 23456)}
