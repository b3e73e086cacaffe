"""The journal's file: opened, made, and set aside where it can't be read. For both of its sides."""

from __future__ import annotations

import fcntl
import itertools
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

NAME = "journal.sqlite"
VERSION = 1
SCHEMA = Path(__file__).with_name("schema.sql")
_COMPANIONS = ("-wal", "-shm")
_MODE = 0o600
_TURN = 0.02
"""Seconds between two tries to lock the folder."""
_MAGIC = b"SQLite format 3\0"
"""How its files begin: https://sqlite.org/fileformat.html#the_database_header."""
_VERSIONS = slice(18, 20)
"""Where the header has the format's versions, of writing and of reading: with one that SQLite doesn't know, a file can
only be read, or not even that."""
_KNOWN_VERSIONS = (1, 2)
DAMAGED = (
    *("malformed", "not a database", "file is encrypted", "unsupported file format"),
    *("no such table", "no such column", "CHECK constraint"),
)
"""How SQLite says that a file is none of its own, or no longer: what we write stands every check of our own."""


class ForeignError(sqlite3.DatabaseError):
    """What lies in the journal's place is no journal of this version's."""


def connect(file: str, patience: float) -> tuple[sqlite3.Connection, int]:
    """Return a connection to the journal, which is made if it isn't there, and its inode.

    To be used by one thread at a time. Waits up to ``patience`` seconds for another's lock. A transaction is on disk
    when it is over. Raises sqlite3.Error, ForeignError among them, and OSError.
    """
    with _folder(file, fcntl.LOCK_EX, patience):
        return _connect(file, patience), inode(file)


def reader(file: str, patience: float) -> tuple[sqlite3.Connection, int]:
    """Return a connection to a journal that is there, by which nothing is changed; all else is as with ``connect``."""
    with _folder(file, fcntl.LOCK_SH, patience):
        return _reader(file, patience), inode(file)


def inode(file: str) -> int:
    """Return the number by which a file is known from another with its name; 0: there is none."""
    try:
        return os.lstat(file).st_ino
    except FileNotFoundError:
        return 0


def _connect(file: str, patience: float) -> sqlite3.Connection:
    _refuse_links(file)
    _claim(file)
    connection = sqlite3.connect(file, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file alone
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _make(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _reader(file: str, patience: float) -> sqlite3.Connection:
    _refuse_links(file)
    connection = sqlite3.connect(f"file:{quote(file)}?mode=ro", uri=True, timeout=patience, isolation_level=None)
    try:
        version = _version(connection)
        if version != VERSION:
            raise ForeignError(_of_version(version))
    except BaseException:
        connection.close()
        raise
    return connection


def is_damaged(error: sqlite3.Error, file: str) -> bool:
    """Tell whether an error says that the file itself is of no use.

    Of a damaged file, and of a full disk, SQLite may say alike that it can't read or write: then the file tells.
    """
    said = str(error)  # Python 3.10 says nothing at all where what SQLite says, a part of the file, is no text
    if isinstance(error, ForeignError) or not said or any(word in said for word in DAMAGED):
        return True
    try:
        with Path(file).open("rb") as content:
            beginning = content.read(_VERSIONS.stop)
    except OSError:
        return False
    return bool(beginning) and not (
        beginning.startswith(_MAGIC) and all(version in _KNOWN_VERSIONS for version in beginning[_VERSIONS])
    )


def set_aside(file: str, known: int, patience: float) -> str:
    """Rename a journal that can't be read, with its companions; return its new name.

    Empty: it is no longer the one whose inode is ``known``, since the other side was first. Raises OSError, and
    sqlite3.OperationalError if it is being opened for longer than ``patience`` seconds.
    """
    with _folder(file, fcntl.LOCK_EX, patience):
        if inode(file) != known:
            return ""
        left = [companion for companion in ("", *_COMPANIONS) if os.path.lexists(file + companion)]
        aside = _unused(f"{file}.bad-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
        for companion in left:
            os.replace(file + companion, aside + companion)  # noqa: PTH105
        return aside if left else ""


def _unused(name: str) -> str:
    names = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(2)))
    return next(each for each in names if not os.path.lexists(each))


@contextmanager
def _folder(file: str, how: int, patience: float) -> Iterator[None]:
    """Hold the lock of a journal's folder: a journal and its companions are opened as a whole, or renamed as a whole.

    SQLite knows companions by name: with those of another journal, its two sides would write where neither reads.
    """
    descriptor = os.open(os.path.dirname(file) or ".", os.O_RDONLY | os.O_DIRECTORY)  # noqa: PTH120
    try:
        deadline = time.monotonic() + patience
        while not _locks(descriptor, how):
            if time.monotonic() > deadline:
                raise sqlite3.OperationalError("its folder is locked")
            time.sleep(_TURN)
        yield
    finally:
        os.close(descriptor)


def _locks(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _refuse_links(file: str) -> None:
    """Whoever owns the folder may have put something else in its place, and root follow it."""
    for each in (file, *(file + companion for companion in _COMPANIONS)):
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(each).st_mode):
                raise ForeignError(f"{each}: not a plain file")


def _claim(file: str) -> None:
    """Have the file closed to others, and its folder's owner's, whoever makes it; its companions will be as it is."""
    folder = os.stat(os.path.dirname(file) or ".")  # noqa: PTH116, PTH120
    try:
        made = os.open(file, os.O_CREAT | os.O_EXCL, _MODE)  # which follows no link: open(2)
    except FileExistsError:
        _close_to_others(file, folder.st_uid)
        return
    try:
        if os.geteuid() == 0:
            os.fchown(made, folder.st_uid, folder.st_gid)
    finally:
        os.close(made)


def _close_to_others(file: str, owner: int) -> None:
    """Have a file that is there closed to others; one that has other names, or is another's, is refused."""
    # O_PATH: to close any other descriptor would drop the locks that this process has on the file, see fcntl_locking(2)
    descriptor = os.open(file, os.O_PATH | os.O_NOFOLLOW)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid not in (owner, os.geteuid()):
            raise ForeignError(f"{file}: not a plain file of its folder's owner, with this name alone")
        if stat.S_IMODE(found.st_mode) != _MODE:
            os.chmod(f"/proc/self/fd/{descriptor}", _MODE)  # noqa: PTH101
    finally:
        os.close(descriptor)


def _make(connection: sqlite3.Connection) -> None:
    """Make the tables, unless they are there; as the folder is locked, nobody else does meanwhile."""
    version = _version(connection)
    if version == VERSION:
        return
    if version != 0 or connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise ForeignError(_of_version(version))
    connection.execute("BEGIN IMMEDIATE")
    for statement in SCHEMA.read_text(encoding="utf-8").split(";\n"):
        connection.execute(statement)
    connection.execute("COMMIT")


def _of_version(version: int) -> str:
    return f"it is of version {version}, expected {VERSION}"


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
