"""The journal's file: made for its folder's owner alone, never by a link, and told from what is none of ours."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import store

COMPANIONS = ("", "-wal", "-shm")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def _make(file: Path) -> None:
    """Make a journal, and close it, so that its companions are gone."""
    store.connect(str(file), 1.0)[0].close()


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Hold a folder's lock, as one does who opens a journal there, or renames it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def test_what_is_written_is_on_the_disk_at_once_and_any_thread_may(file: Path) -> None:
    connection, inode = store.connect(str(file), 1.0)
    with closing(connection):
        assert inode == file.stat().st_ino
        written = threading.Thread(target=connection.execute, args=["UPDATE lives SET cause = ''"])
        written.start()
        written.join()
        assert not connection.in_transaction
        modes = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert modes == ["wal", 2]
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_a_journal_in_the_working_folder_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _make(Path("journal.sqlite"))
    assert (tmp_path / "journal.sqlite").exists()


@pytest.mark.parametrize("mode", [0o644, 0o400, 0o777])
def test_another_mode_is_made_ours(file: Path, mode: int) -> None:
    _make(file)
    file.chmod(mode)
    _make(file)
    assert file.stat().st_mode & 0o7777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another")
def test_it_belongs_to_whom_its_folder_does(file: Path) -> None:
    """The listener may make it first, as root, and ComfyUI's account is to write it."""
    os.chown(file.parent, 12345, 23456)
    for _ in range(2):
        with closing(store.connect(str(file), 1.0)[0]) as connection:
            connection.execute("PRAGMA user_version = 1")
            found = [Path(f"{file}{each}").stat() for each in COMPANIONS]
        assert {(each.st_uid, each.st_gid) for each in found} == {(12345, 23456)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another")
def test_a_file_of_somebody_else_is_refused(file: Path) -> None:
    _make(file)
    os.chown(file, 12345, 0)
    with pytest.raises(store.ForeignError, match="not a plain file of its folder's owner"):
        store.connect(str(file), 1.0)
    os.chown(file, 0, 0)
    os.chown(file.parent, 12345, 0)
    _make(file)


def test_who_is_not_root_gives_nothing_away(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor may: where the folder is of a group that the account is not in, to try it would fail."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(os, "fchown", lambda *_: pytest.fail("it was tried"))
    _make(file)


def test_a_file_with_another_name_is_refused(file: Path) -> None:
    """Its folder's owner could have root write to a file elsewhere by it."""
    elsewhere = file.with_name("elsewhere")
    elsewhere.touch()
    file.hardlink_to(elsewhere)
    with pytest.raises(store.ForeignError, match="with this name alone"):
        store.connect(str(file), 1.0)
    assert elsewhere.read_bytes() == b""


def _link(place: Path) -> None:
    place.symlink_to("elsewhere")


@pytest.mark.parametrize("opened", [store.connect, store.reader])
@pytest.mark.parametrize("companion", COMPANIONS)
@pytest.mark.parametrize("put", [_link, Path.mkdir, os.mkfifo])
def test_what_is_no_plain_file_is_not_opened(
    file: Path, put: Callable[[Path], None], companion: str, opened: Callable[[str, float], object]
) -> None:
    _make(file)
    place = Path(f"{file}{companion}")
    place.unlink(missing_ok=True)
    put(place)
    with pytest.raises(store.ForeignError, match=rf"^{place}: not a plain file$"):
        opened(str(file), 1.0)
    assert not file.with_name("elsewhere").exists()


def test_what_is_put_in_its_place_at_the_last_moment_is_not_opened_either(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_refuse_links", lambda _: None)
    os.mkfifo(file, 0o600)
    with pytest.raises(store.ForeignError, match="not a plain file of its folder's owner"):
        store.connect(str(file), 1.0)
    file.unlink()
    file.symlink_to(file.with_name("elsewhere"))
    file.with_name("elsewhere").touch(0o644)
    with pytest.raises(store.ForeignError, match="not a plain file of its folder's owner"):
        store.connect(str(file), 1.0)
    assert file.with_name("elsewhere").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "statement", ["PRAGMA user_version = 99", "PRAGMA user_version = -1", "CREATE TABLE other (x)"]
)
@pytest.mark.parametrize("opened", [store.connect, store.reader])
def test_another_database_is_none_of_ours(file: Path, statement: str, opened: Callable[[str, float], object]) -> None:
    with closing(sqlite3.connect(file)) as another:
        another.execute(statement)
        (version,) = another.execute("PRAGMA user_version").fetchone()
    file.chmod(0o600)
    with pytest.raises(store.ForeignError, match=f"^it is of version {version}, expected 1$"):
        opened(str(file), 1.0)
    with closing(sqlite3.connect(file)) as another:
        tables = another.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == ([("other",)] if "TABLE" in statement else [])


def test_one_whose_making_was_broken_off_is_made(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is left of that: whoever was killed had said that it is made as a whole, or not at all."""
    broken = file.with_name("schema.sql")
    broken.write_text("CREATE TABLE lives (id);\nCREATE nonsense;\n")
    with monkeypatch.context() as breaking:
        breaking.setattr(store, "SCHEMA", broken)
        with pytest.raises(sqlite3.OperationalError, match="syntax error"):
            store.connect(str(file), 1.0)
    with closing(store.connect(str(file), 1.0)[0]) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


def test_who_reads_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "50% of #1?" / "journal.sqlite"
    file.parent.mkdir()
    _make(file)
    reading, inode = store.reader(str(file), 1.0)
    with closing(reading):
        assert inode == file.stat().st_ino
        assert reading.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reading.execute("DELETE FROM jobs")


def test_who_reads_makes_nothing(file: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        store.reader(str(file), 1.0)
    assert not list(file.parent.iterdir())


@pytest.mark.parametrize("deed", [store.connect, store.reader, lambda file, wait: store.set_aside(file, 0, wait)])
@pytest.mark.parametrize("others", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_nobody_opens_or_renames_while_another_does(
    file: Path, deed: Callable[[str, float], object], others: int
) -> None:
    """SQLite says that a new file is locked, and waits for nobody, while another makes it. Two may read at a time."""
    _make(file)
    with _locked(file.parent, others):
        if deed is store.reader and others == fcntl.LOCK_SH:
            store.reader(str(file), 0.0)[0].close()
        else:
            with pytest.raises(sqlite3.OperationalError, match="its folder is locked"):
                deed(str(file), 0.05)
    assert file.exists()


def test_who_opens_it_waits_a_moment_for_another(file: Path) -> None:
    with _locked(file.parent, fcntl.LOCK_EX):
        waiting = threading.Thread(target=_make, args=[file])
        waiting.start()
        time.sleep(0.1)
        assert not file.exists()
    waiting.join()
    assert file.exists()


def test_a_folder_that_is_gone_is_an_error_of_the_systems(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.connect(str(file.parent / "none" / "journal.sqlite"), 1.0)


@pytest.mark.parametrize("opened", [store.connect, store.reader])
def test_a_connection_waits_as_long_as_it_was_told(
    file: Path, opened: Callable[[str, float], tuple[sqlite3.Connection, int]]
) -> None:
    _make(file)
    with closing(opened(str(file), 1.25)[0]) as connection:
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (1250,)


def test_a_file_is_known_by_its_number(file: Path) -> None:
    assert store.inode(str(file)) == 0
    file.symlink_to("nowhere")
    assert store.inode(str(file)) == file.lstat().st_ino


@pytest.mark.parametrize("place", [18, 19])
def test_a_file_of_a_format_to_come_is_of_no_use(file: Path, place: int) -> None:
    """SQLite would only read the one, and not even read the other."""
    _make(file)
    content = bytearray(file.read_bytes())
    content[place] = 3
    file.write_bytes(content)
    with pytest.raises(sqlite3.DatabaseError) as said:
        store.connect(str(file), 1.0)
    assert store.is_damaged(said.value, str(file))
    assert store.is_damaged(sqlite3.OperationalError("disk I/O error"), str(file))


@pytest.mark.parametrize(
    ("said", "is_damage"),
    [
        ("database disk image is malformed", True),
        ("file is not a database", True),
        ("file is encrypted or is not a database", True),
        ("unsupported file format", True),
        ("no such table: jobs", True),
        ("no such column: number", True),
        ("CHECK constraint failed: state", True),
        ("", True),
        ("disk I/O error", False),
        ("database or disk is full", False),
        ("database is locked", False),
        ("attempt to write a readonly database", False),
    ],
)
def test_what_sqlite_says_of_a_sound_file(file: Path, said: str, is_damage: bool) -> None:
    _make(file)
    assert store.is_damaged(sqlite3.OperationalError(said), str(file)) is is_damage


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_file_of_either_format_is_sound(file: Path, mode: str) -> None:
    """One whose making was broken off has the older one still."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE some (x)")
    assert set(file.read_bytes()[18:20]) == {1 if mode == "DELETE" else 2}
    assert not store.is_damaged(sqlite3.OperationalError("disk I/O error"), str(file))


@pytest.mark.parametrize(
    ("content", "is_damage"),
    [(b"x" * 100, True), (b"SQLite format 4\0" + b"\1" * 84, True), (b"x", True), (b"", False), (None, False)],
)
def test_where_sqlite_does_not_say_whose_fault_it_is_the_file_does(
    file: Path, content: bytes | None, is_damage: bool
) -> None:
    if content is not None:
        file.write_bytes(content)
    assert store.is_damaged(sqlite3.OperationalError("disk I/O error"), str(file)) is is_damage


def test_what_is_set_aside_is_kept_as_a_whole(file: Path) -> None:
    for each in COMPANIONS:
        Path(f"{file}{each}").write_text(f"content{each}")
    aside = store.set_aside(str(file), store.inode(str(file)), 1.0)
    assert time.strptime(aside, f"{file}.bad-%Y%m%dT%H%M%S")
    assert {each.name: each.read_text() for each in file.parent.iterdir()} == {
        f"{Path(aside).name}{each}": f"content{each}" for each in COMPANIONS
    }


def test_several_that_are_set_aside_within_a_second_are_all_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beside a link that leads nowhere."""
    now = SimpleNamespace(gmtime=time.gmtime, monotonic=time.monotonic, strftime=lambda *_: "now")
    monkeypatch.setattr(store, "time", now)
    Path(f"{file}.bad-now").symlink_to("nowhere")
    for content in ("two", "three"):
        file.write_text(content)
        store.set_aside(str(file), store.inode(str(file)), 1.0)
    assert [Path(f"{file}.bad-now.{number}").read_text() for number in (2, 3)] == ["two", "three"]


@pytest.mark.parametrize("known", [-1, 1])
def test_what_another_has_begun_meanwhile_is_not_set_aside(file: Path, known: int) -> None:
    _make(file)
    assert store.set_aside(str(file), store.inode(str(file)) + known, 1.0) == ""
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_where_nothing_is_left_nothing_is_set_aside(file: Path) -> None:
    assert store.set_aside(str(file), 0, 1.0) == ""


def test_a_log_without_its_journal_is_set_aside(file: Path) -> None:
    """A new journal would be begun with it."""
    log = Path(f"{file}-wal")
    log.write_text("old")
    aside = store.set_aside(str(file), 0, 1.0)
    assert Path(f"{aside}-wal").read_text() == "old"
    assert not log.exists()
