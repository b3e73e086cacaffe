"""What becomes of each job, on disk before anybody is told of it.

Nothing here raises, and nothing blocks for long: where the journal can't be written, ComfyUI goes on without, and once
it can be again, stock is taken of all that is in the queue. What a user was told reaches the disk first. That a job is
begun or has ended outlives ComfyUI at once, and a power cut within a second: it would be run again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import rows, store
from .guard import guarded
from .life import FOLLOWED, Life
from .rows import ACCEPT, BODY, END, HEARD, IS_LISTENERS, IS_OVER, OWN, Item
from .writer import PATIENCE as LATE
from .writer import Writer

PATIENCE = 1.0
"""Seconds for which a request may wait for the listener's lock."""
LOST_END = "its end could not be written down"

_TAKE = (
    "UPDATE jobs SET state = 'running', begun = :now, changed = :now WHERE prompt_id = :prompt_id AND state = 'queued'"
)
_GIVE_UP = f"""
UPDATE jobs SET
    state = CASE WHEN {IS_LISTENERS} THEN state ELSE 'deleted' END,
    note = CASE WHEN {IS_LISTENERS} THEN note ELSE 'interrupted' END,
    asked = CASE WHEN {IS_LISTENERS} THEN 'obeyed' ELSE asked END,
    changed = :now
WHERE prompt_id = :prompt_id AND state IN ('queued', 'running')
"""  # noqa: S608  # words of ours
_REMOVE = """
UPDATE jobs SET state = 'deleted', note = :note, changed = :now
WHERE prompt_id = :prompt_id AND state = 'queued'
"""
_UNPUT = "UPDATE jobs SET life = NULL, changed = :now WHERE prompt_id = :prompt_id AND state = 'queued'"
_ASK = f"UPDATE jobs SET asked = {HEARD} WHERE prompt_id = :prompt_id AND state = 'running'"  # noqa: S608  # words of ours
_PUT_BACK = "UPDATE jobs SET state = 'queued', note = :note, changed = :now WHERE prompt_id = :prompt_id"
_NOTE = "UPDATE jobs SET note = :note, state = 'running' WHERE prompt_id = :prompt_id"
_BEGIN_LIFE = """
INSERT INTO lives (token, boot, pid, started, began, witness)
VALUES (:token, :boot, :pid, :started, :began, 'extension') ON CONFLICT (token) DO NOTHING
"""
_HAND_OVER = "UPDATE lives SET witness = 'listener' WHERE token = :token"

_MINE = """
SELECT prompt_id FROM jobs WHERE life = ? AND state IN ('queued', 'running') AND asked <> 'obeyed' AND note = ''
"""
"""What the journal believes to be in the queue; a job with a note has failed, and is tried again in the next life."""
_MOST_OWED = 10_000
"""Changes that are remembered until they can be written down."""

Say = Callable[[str], None]
Change = tuple[str, dict[str, Any]]
"""A statement, and its values."""


class Journal:
    """One life's part of the journal; to be used by any thread."""

    def __init__(
        self, file: str, life: Life, say: Say, keys: Iterable[str] = (), *, writer: Writer | None = None
    ) -> None:
        """Keep what is needed; ``take_stock`` opens the file. ``keys``: what in ``extra_data`` is not to be kept."""
        self._file = file
        self._life = life
        self._say = say
        self._keys = rows.KEYS | set(keys)
        self._writer = writer or Writer()
        """The only one that touches what follows."""
        self._connection: sqlite3.Connection | None = None
        self._opened: sqlite3.Connection | None = None
        """One by which stock is still to be taken."""
        self._owed: dict[str, Change] = {}
        """By job, the last change that could not be written down."""
        self._inode = 0
        self._life_id = 0
        self._trouble = ""
        self._missed = 0
        """How often something befell a job that will not be written, since there was too much or a hook failed …"""
        self._made_good = 0
        """… and how many of these came before stock was taken."""
        self._loose = False
        """Whether something is written that may not be on the disk yet."""
        self.handed_over = False
        """Whether this life is the listener's to follow, and nothing of it is written here any more."""

    @property
    def ok(self) -> bool:
        """Whether all is written down."""
        return self._connection is not None and not self._writer.late and self._missed == self._made_good

    def accepted(self, item: Item, *, again: bool) -> bool:
        """Write down a job that is about to be queued; return whether it may be.

        It may not if the listener submits it ``again``, and an operator has dropped it since.
        """
        try:
            row = self._row(item, "queued")
        except OWN as error:
            self._say(f"a job can't be written down, and would be lost at a restart: {error}")
            return True
        over: list[str] = []

        def write() -> None:
            row["life"] = self._life_id  # which only now is sure to have been entered
            self._write([(ACCEPT, row), (BODY, row)], over=over if again else None)

        self._do(write)
        return not over

    def refused(self, prompt_id: str, *, again: bool) -> None:
        """Write down that a job has not been queued after all; the listener's goes on waiting for that."""
        self._change(_UNPUT if again else _REMOVE, [prompt_id], note="its submission failed")

    def taken(self, item: Item) -> None:
        """Write down that the worker has taken a job."""
        self._change(_TAKE, [item[1]], loose=True)

    def ended(self, prompt_id: str, state: str, note: str = "") -> None:
        """Write down how a job ended: ``done`` or ``failed``."""
        self._change(END, [prompt_id], loose=True, state=state, note=note)

    def gave_up(self, prompt_id: str) -> None:
        """Write down that a job was interrupted: by its user, which ends it, or by the listener."""
        self._change(_GIVE_UP, [prompt_id])

    def noted(self, prompt_id: str, note: str) -> None:
        """Write something down of a job that goes on in the next life."""
        self._change(_NOTE, [prompt_id], note=note)

    def put_back(self, prompt_id: str, note: str) -> None:
        """Write down that a job was taken, and not tried: it waits for the next life."""
        self._change(_PUT_BACK, [prompt_id], note=note)

    def removed(self, prompt_ids: Sequence[str]) -> None:
        """Write down that waiting jobs were deleted."""
        self._change(_REMOVE, prompt_ids, note="deleted")

    def asked(self, prompt_ids: Sequence[str]) -> None:
        """Write down that running jobs were asked to give up: by a user, unless the listener said that it would."""
        self._change(_ASK, prompt_ids)

    def is_ours(self) -> bool:
        """Tell whether the file that is written is still the one in its place, and nothing is missing."""
        if self._writer.late:
            return True  # what will come of it is to be seen
        try:
            return self.ok and Path(self._file).stat().st_ino == self._inode
        except OSError:
            return False

    def settle(self) -> None:
        """Have on the disk what is not there yet: to be called each second."""
        if self._loose and not self._writer.late:
            self._do(self._sync)

    def open(self) -> bool:
        """Open the file anew, and wait until it can be written; return whether it can. Then stock is to be taken."""
        self._do(self._reopen)
        return self._opened is not None

    def take_stock(self, running: Sequence[Item], waiting: Sequence[Item]) -> None:
        """Write down all that is in the queue, whose lock the caller holds."""
        missed = self._missed
        self._do(lambda: self._begin(running, waiting, missed))

    def hand_over(self) -> None:
        """Leave this life to the listener, who then looks at its queue from outside."""
        if not self.handed_over and not self._writer.late:
            self._do(self._leave)

    def miss(self) -> None:
        """Note that something befell a job that will not be written: from the queue, it is to be seen which is gone."""
        self._missed += 1

    def _do(self, deed: Callable[[], None]) -> None:
        """Have something done to the file; say so if that takes too long."""
        if not self._writer.do(lambda: guarded(f"writing {store.NAME}", deed, self.miss)):
            self.miss()
        if self._writer.late:
            self._say_trouble(
                f"the disk takes more than {LATE:g} s to write {store.NAME}: ComfyUI goes on, but a restart might lose "
                "its newest jobs"
            )

    def _sync(self) -> None:
        self._loose = False
        try:
            descriptor = os.open(f"{self._file}-wal", os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._fail(error)

    def _reopen(self) -> None:
        self._close()
        try:
            self._opened, self._inode = self._connect()
            with _transaction(self._opened):
                pass
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def _begin(self, running: Sequence[Item], waiting: Sequence[Item], missed: int) -> None:
        if self._opened is None:
            return
        try:
            with _transaction(self._opened) as connection:
                self._enter(connection, running, waiting)
        except (*OWN, sqlite3.Error) as error:
            self._fail(error)
            return
        self._connection, self._opened = self._opened, None
        self._made_good = missed
        self._owed.clear()
        self._say_trouble("")

    def _leave(self) -> None:
        self._reopen()  # the file may be another by now, and this life be in none
        if self._opened is None:
            return
        try:
            with _transaction(self._opened) as connection:
                self._enter_life(connection)
                connection.execute(_HAND_OVER, vars(self._life))
        except sqlite3.Error as error:
            self._fail(error)
            return
        self._close()
        self.handed_over = True
        self._say_trouble("")

    def _connect(self) -> tuple[sqlite3.Connection, int]:
        """Return a connection to the file, and its inode; one that is damaged is set aside, and a new one begun."""
        known = store.inode(self._file)
        try:
            return store.connect(self._file, PATIENCE)
        except sqlite3.Error as error:
            if not store.is_damaged(error, self._file):
                raise
            aside = store.set_aside(self._file, known, PATIENCE)
            self._say(f"{error}; it is set aside{f' as {aside}' if aside else ''}, and a new one begun")
        return store.connect(self._file, PATIENCE)

    def _enter(self, connection: sqlite3.Connection, running: Sequence[Item], waiting: Sequence[Item]) -> None:
        """Enter this life, and the queue as it is; what the journal still believes to be in it has ended."""
        self._enter_life(connection)
        found = connection.execute("SELECT id FROM lives WHERE token = ?", (self._life.token,))
        (self._life_id,) = found.fetchone()
        for statement, values in self._owed.values():
            with suppress(*OWN):
                connection.execute(statement, values)
        here = {item[1] for item in (*running, *waiting)}
        for (prompt_id,) in connection.execute(_MINE, (self._life_id,)).fetchall():
            if prompt_id not in here:
                lost = {"prompt_id": prompt_id, "state": "done", "note": LOST_END, "now": time.time()}
                connection.execute(END, lost)
        for state, items in (("queued", waiting), ("running", running)):
            for item in items:
                with suppress(*OWN):
                    row = self._row(item, state)
                    connection.execute(ACCEPT, row)
                    connection.execute(BODY, row)

    def _enter_life(self, connection: sqlite3.Connection) -> None:
        connection.execute(_BEGIN_LIFE, vars(self._life))
        connection.execute(FOLLOWED, vars(self._life))

    def _row(self, item: Item, state: str) -> dict[str, Any]:
        return rows.row(item, state, self._life_id, self._keys)

    def _change(self, statement: str, prompt_ids: Sequence[str], *, loose: bool = False, **values: object) -> None:
        now = time.time()
        changes = {each: (statement, {"prompt_id": each, "now": now, **values}) for each in prompt_ids}
        if changes:
            self._do(lambda: self._write_or_owe(changes, loose))

    def _write_or_owe(self, changes: dict[str, Change], loose: bool) -> None:
        self._write(list(changes.values()), loose)
        if self._connection is None and len(self._owed) < _MOST_OWED:
            self._owed.update(changes)

    def _write(self, changes: Sequence[Change], loose: bool = False, over: list[str] | None = None) -> None:
        """Write down some changes, all or none; after a failure nothing is tried until stock is taken.

        ``over``: nothing is written of a job that has ended; then its state comes into here.
        """
        if self._connection is None:
            return
        try:
            # NORMAL: it outlives the process, and need not be on the disk yet: https://sqlite.org/pragma.html
            self._connection.execute(f"PRAGMA synchronous = {'NORMAL' if loose else 'FULL'}")
            with _transaction(self._connection) as connection:
                if over is not None:
                    over += [state for (state,) in connection.execute(IS_OVER, changes[0][1])]
                for statement, values in () if over else changes:
                    connection.execute(statement, values)
        except OWN as error:
            self._say(f"a job can't be written down as it is: {error}")
            return
        except sqlite3.Error as error:
            self._fail(error)
            return
        self._loose |= loose
        self._say_trouble("")

    def _close(self) -> None:
        for connection in (self._connection, self._opened):
            if connection is not None:
                connection.close()
        self._connection = self._opened = None

    def _fail(self, error: Exception) -> None:
        self._close()
        name = Path(self._file).name
        self._say_trouble(f"{name} can't be written ({error}): ComfyUI goes on, but a restart would lose its jobs")

    def _say_trouble(self, trouble: str) -> None:
        """Say a trouble once, and its end."""
        if trouble != self._trouble:
            self._say(trouble or "the journal is written again")
            self._trouble = trouble


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
