"""The listener's side of ``journal.sqlite``: lives and their deaths, and what waits to be submitted again.

Each function is one transaction, on disk when it returns.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..extension.comfy_supervisor_bridge import rows, store
from ..extension.comfy_supervisor_bridge.life import FOLLOWED
from .job import SUBMITTED, Guilt, Job, Life, Process, State, Tally, Waits, token

BAND = -2e12
"""The first number of jobs that are submitted again: before all others, and below ``rows.REPLAYED``."""
PATIENCE = 5.0
"""Seconds to wait for the extension's lock."""
_JOB = "seq, prompt_id, number, state, life, secrets, asked, waits, suspect, victim, note, accepted, changed"
_READ = "BEGIN"
"""A transaction that locks nobody out."""
_INDEXED = "state IN ('queued', 'running', 'quarantined')"
_FINISHED = "state IN ('done', 'failed', 'deleted')"
"""The indexes' own conditions, word for word: SQLite infers them from no others."""
_UNFINISHED = f"{_INDEXED} AND state IN ('queued', 'running')"
_WAITING = f"{_INDEXED} AND state = 'queued' AND life IS NULL AND waits = ''"
"""To be submitted again."""
_OBEDIENT = f"{_INDEXED} AND state = 'running' AND asked = 'obeyed'"
_LIFE = "id, token, boot, pid, started, witness, cause, guilt"


_JOB_TYPES = (int, str, float, str, (int, type(None)), str, str, str, int, int, str, float, float)
_LIFE_TYPES = (int, str, str, int, float, str, str, (str, type(None)))
"""What the columns hold: SQLite keeps anything in any, and whoever owns the folder may have written it."""
_NOBODYS = "state = 'queued' AND (life IS NULL OR note = :submitted)"
"""In nobody's queue, as far as is known."""

Fate = Callable[[Job], Job]


class JournalError(Exception):
    """The journal can't be read or written; the text says which, and why."""


class DamagedError(JournalError):
    """What lies there is no journal, or not any more."""


class Journal:
    """One instance's journal, opened when it is first asked for. To be used by one thread; raises JournalError."""

    def __init__(self, folder: str | Path, *, make: bool = True) -> None:
        """Keep the name of the instance's state folder. Without ``make`` the journal is only read."""
        self.file = str(Path(folder, store.NAME))
        self._make = make
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    @property
    def exists(self) -> bool:
        """Whether there is one, or something in its place."""
        return os.path.lexists(self.file)

    def version(self) -> int:
        """Return a number that changes whenever somebody else has changed the journal."""
        with self._transaction(_READ) as sql:
            return hash((self._inode, *sql.execute("PRAGMA data_version").fetchone()))

    def newest_life(self) -> Life | None:
        """Return the life that began last; None: there was none yet."""
        with self._transaction(_READ) as sql:
            return _newest(sql)

    def begin_life(self, process: Process, now: float) -> Life:
        """Note a life that nobody within it has noted; return it."""
        values = {**vars(process), "token": token(process), "now": now}
        with self._transaction() as sql:
            sql.execute(
                "INSERT INTO lives (token, boot, pid, started, began, witness) "
                "VALUES (:token, :boot, :pid, :started, :now, 'listener') ON CONFLICT (token) DO NOTHING",
                values,
            )
            sql.execute(FOLLOWED, values)
            return _life(sql.execute(f"SELECT {_LIFE} FROM lives WHERE token = ?", (token(process),)).fetchone())

    def blame(self, process: Process, cause: str, guilt: Guilt) -> None:
        """Note that a process's life is being ended, and what that says of its job, before it is."""
        with self._transaction() as sql:
            life = _newest(sql)
            if life and life.is_of(process):
                sql.execute("UPDATE lives SET cause = ?, guilt = ? WHERE id = ?", (cause, guilt.value, life.id))

    def ended(self, process: Process, guilt: Guilt) -> None:
        """Note what a process's end says of the job of its last life, unless that life was ended by the listener."""
        with self._transaction() as sql:
            of_pid = f"SELECT {_LIFE} FROM lives WHERE boot = ? AND pid = ? ORDER BY id DESC"
            lives = map(_life, sql.execute(of_pid, (process.boot, process.pid)).fetchall())
            last = next((life for life in lives if life.is_of(process)), None)
            if last:
                sql.execute("UPDATE lives SET guilt = coalesce(guilt, ?) WHERE id = ?", (guilt.value, last.id))

    def unsettled(self, current: Life | None) -> list[Life]:
        """Return the dead lives that have left jobs behind, the oldest first; all but ``current`` are dead.

        One that the journal does not know is dead: who speaks for a life enters that first.
        """
        of_jobs = f"SELECT DISTINCT life FROM jobs WHERE {_UNFINISHED} AND life IS NOT NULL"
        with self._transaction(_READ) as sql:
            lives = list(map(_life, sql.execute(f"SELECT {_LIFE} FROM lives ORDER BY id").fetchall()))
            left = {_number(row) for row in sql.execute(of_jobs).fetchall()} - {current.id if current else None}
        unknown = sorted(left - {life.id for life in lives})
        return [
            *(Life(number, "", "", 0, 0.0, "extension", "", None) for number in unknown),
            *(life for life in lives if life.id in left),
        ]

    def settle(self, life: Life, guilt: Guilt, fate: Fate) -> list[Job]:
        """Decide on all that a dead life has left behind; return those jobs as they are now, in order."""
        with self._transaction() as sql:
            sql.execute("UPDATE lives SET guilt = coalesce(guilt, ?) WHERE id = ?", (guilt.value, life.id))
            left = _jobs(sql, f"{_UNFINISHED} AND life = ? ORDER BY state <> 'running', number, seq", life.id)
            if left and life.witness == "listener":
                guessed = len(left) > 1 and not life.cause
                left[0] = replace(left[0], state=State.RUNNING, guessed=guessed)  # whether or not it was seen to run
            waiting = _jobs(sql, f"{_WAITING} ORDER BY number, seq")
            begun = [job.seq for job in left if job.state is State.RUNNING]
            return _arranged(sql, begun, _decided(sql, left, fate), waiting)

    def take_back(self, fate: Fate) -> list[Job]:
        """Decide on the running jobs that have given up because the listener asked them to; return them."""
        with self._transaction() as sql:
            obedient = _jobs(sql, f"{_OBEDIENT} ORDER BY number, seq")
            return _arranged(sql, [], _decided(sql, obedient, fate), [])

    def obedient(self) -> bool:
        """Tell whether there is any such job."""
        with self._transaction(_READ) as sql:
            return bool(sql.execute(f"SELECT 1 FROM jobs WHERE {_OBEDIENT}").fetchone())

    def merge(self, other: Life, current: Life) -> None:
        """Note that what was taken for two lives is one."""
        with self._transaction() as sql:
            sql.execute("UPDATE jobs SET life = ? WHERE life = ?", (current.id, other.id))

    def accept(self, item: Sequence[Any], life: Life, state: State) -> None:
        """Note a job that was seen in a life's queue; one that can't be written down is passed over."""
        with suppress(*rows.OWN), self._transaction() as sql:
            values = rows.row(item, state.value, life.id)
            sql.execute(rows.ACCEPT, values)
            sql.execute(rows.BODY, values)

    def in_queue(self, life: Life) -> list[Job]:
        """Return the jobs that are in a life's queue, or were when it was last looked at."""
        with self._transaction(_READ) as sql:
            return _jobs(sql, f"{_UNFINISHED} AND life = ? ORDER BY number, seq", life.id)

    def moved(self, job: Job, state: State, note: str = "") -> None:
        """Note what became of a job in a life's queue."""
        now = time.time()
        with self._transaction() as sql:
            sql.execute(
                f"UPDATE jobs SET state = :state, note = {rows.NOTE}, changed = :now, "
                "begun = CASE :state WHEN 'running' THEN :now ELSE begun END "
                "WHERE seq = :seq AND state IN ('queued', 'running')",
                {"state": state.value, "note": note, "now": now, "seq": job.seq},
            )

    def obeyed(self, job: Job) -> None:
        """Note that a job gave up because the listener asked it to."""
        with self._transaction() as sql:
            sql.execute(f"UPDATE jobs SET asked = 'obeyed' WHERE seq = ? AND {rows.IS_LISTENERS}", (job.seq,))

    def ask(self, prompt_id: str, by: str = "listener") -> bool:
        """Note that a running job is about to be asked to give up; return whether it is known. A user's word wins.

        To be called before each request: as many are taken for the listener's by ComfyUI's extension, the next is a
        user's.
        """
        asked = "'user'" if by == "user" else rows.MARK
        with self._transaction() as sql:
            sql.execute(
                f"UPDATE jobs SET asked = {asked}, state = 'running' WHERE prompt_id = ? AND {_UNFINISHED} "
                "AND life IS NOT NULL",
                (prompt_id,),
            )
            known = f"SELECT 1 FROM jobs WHERE prompt_id = ? AND {_UNFINISHED} AND life IS NOT NULL"
            return sql.execute(known, (prompt_id,)).fetchone() is not None

    def to_submit(self) -> list[Job]:
        """Return what is to be submitted again, in order; suspects come last."""
        with self._transaction(_READ) as sql:
            return _jobs(sql, f"{_WAITING} ORDER BY suspect > 0, number, seq")

    def body(self, seq: int) -> dict[str, Any] | None:
        """Return a job's graph and what came with it, as ``POST /prompt`` takes it; None: it isn't kept."""
        with self._transaction(_READ) as sql:
            row = sql.execute("SELECT body FROM bodies WHERE seq = ?", (seq,)).fetchone()
        return _body(*row) if row else None

    def submitting(self, job: Job, life: Life) -> bool:
        """Return whether a job may be submitted: nobody has dropped it since it was looked for.

        It is marked as about to be, where nobody within that life writes it down before it answers.
        """
        waits = "seq = ? AND life IS NULL AND state = 'queued'"
        by_extension = "SELECT 1 FROM lives WHERE id = ? AND witness = 'extension'"
        with self._transaction() as sql:
            if sql.execute(by_extension, (life.id,)).fetchone():  # asked each time, since it may have left that life
                return sql.execute(f"SELECT 1 FROM jobs WHERE {waits}", (job.seq,)).fetchone() is not None
            changed = sql.execute(
                f"UPDATE jobs SET life = ?, note = ?, changed = ? WHERE {waits}",
                (life.id, SUBMITTED, time.time(), job.seq),
            )
            return _is_done(changed)

    def in_doubt(self, life: Life) -> bool:
        """Tell whether a job was submitted to a life, and nobody knows what became of that."""
        with self._transaction(_READ) as sql:
            return bool(_jobs(sql, f"{_UNFINISHED} AND life = ? AND note = ?", life.id, SUBMITTED))

    def unsubmitted(self, job: Job, note: str = "") -> None:
        """Note that a job has not come into the queue, and waits to be submitted once more."""
        with self._transaction() as sql:
            sql.execute(
                f"UPDATE jobs SET life = NULL, note = :note, changed = :now WHERE seq = :seq AND {_NOBODYS}",
                {"note": note, "now": time.time(), "seq": job.seq, "submitted": SUBMITTED},
            )

    def found(self, job: Job, life: Life, state: State, note: str = "", prompt_id: str = "") -> None:
        """Note that a job is in a life's queue or history, if it was in nobody's; ``prompt_id``: by another name."""
        with self._transaction() as sql:
            values = {"prompt_id": prompt_id or job.prompt_id, "life": life.id, "state": state.value, "note": note}
            sql.execute(
                f"UPDATE jobs SET prompt_id = :prompt_id, life = :life, state = :state, note = {rows.NOTE}, "
                f"changed = :now WHERE seq = :seq AND {_NOBODYS}",
                {**values, "now": time.time(), "seq": job.seq, "submitted": SUBMITTED},
            )

    def set_aside(self, job: Job, note: str) -> bool:
        """Put a job that is in nobody's queue into quarantine; return False if it no longer is."""
        with self._transaction() as sql:
            changed = sql.execute(
                "UPDATE jobs SET state = 'quarantined', life = NULL, note = :note, changed = :now "
                f"WHERE seq = :seq AND {_NOBODYS}",
                {"note": note, "now": time.time(), "seq": job.seq, "submitted": SUBMITTED},
            )
            return _is_done(changed)

    def jobs(self, *states: State) -> list[Job]:
        """Return the jobs in these states, or all: unfinished ones in their order, then the others as they ended."""
        chosen = ", ".join(f"'{state.value}'" for state in states or tuple(State))
        with self._transaction(_READ) as sql:
            return _jobs(
                sql,
                f"state IN ({chosen}) ORDER BY state NOT IN ('queued', 'running'), "
                "CASE WHEN state IN ('queued', 'running') THEN number ELSE changed END, seq",
            )

    def job(self, prompt_id: str) -> Job | None:
        """Return one job; None: it isn't known."""
        with self._transaction(_READ) as sql:
            return next(iter(_jobs(sql, "prompt_id = ?", prompt_id)), None)

    def beginning(self, text: str) -> list[Job]:
        """Return the jobs whose ids begin so; the one alone whose id that is, if there is one."""
        with self._transaction(_READ) as sql:
            return _jobs(sql, "prompt_id = ?", text) or _jobs(sql, "substr(prompt_id, 1, ?) = ?", len(text), text)

    def tally(self) -> Tally:
        """Return how many jobs there are, by where they are."""
        with self._transaction(_READ) as sql:
            rows = sql.execute(
                f"SELECT state, life IS NULL, count(*) FROM jobs WHERE {_INDEXED} GROUP BY 1, 2"
            ).fetchall()
            rows += sql.execute(f"SELECT state, 0, count(*) FROM jobs WHERE {_FINISHED} GROUP BY 1").fetchall()
        found: dict[str, int] = {}
        for state, is_nobodys, count in rows:
            where = "waiting" if state == State.QUEUED and is_nobodys else state
            found[where] = found.get(where, 0) + count
        return Tally(**found)

    def retry(self, job: Job) -> bool:
        """Have a job submitted again that is set aside or waits for an operator, what it was charged with forgiven.

        Returns False if it no longer is or does.
        """
        with self._transaction() as sql:
            changed = sql.execute(
                "UPDATE jobs SET state = 'queued', life = NULL, waits = '', asked = '', suspect = 0, victim = 0, "
                "note = '', number = ?, changed = ? WHERE seq = ? AND seq IN (SELECT seq FROM bodies) "
                "AND (state = 'quarantined' OR (state = 'queued' AND life IS NULL))",
                (_next_number(sql), time.time(), job.seq),
            )
            return _is_done(changed)

    def drop(self, job: Job) -> bool:
        """Delete a job for good that is in no living queue; return False if it is no longer as it was."""
        with self._transaction() as sql:
            changed = sql.execute(
                "UPDATE jobs SET state = 'deleted', note = 'dropped by an operator', changed = ? "
                "WHERE seq = ? AND state = ? AND life IS ? AND state IN ('queued', 'running', 'quarantined')",
                (time.time(), job.seq, job.state.value, job.life),
            )
            return _is_done(changed)

    def prune(self, most: int) -> None:
        """Forget the finished jobs that are more than ``most``, and the lives that nobody speaks of."""
        with self._transaction() as sql:
            sql.execute(
                "DELETE FROM jobs WHERE seq IN "
                f"(SELECT seq FROM jobs WHERE {_FINISHED} ORDER BY changed DESC LIMIT -1 OFFSET ?)",
                (most,),
            )
            sql.execute(
                "DELETE FROM lives WHERE id NOT IN (SELECT life FROM jobs WHERE life IS NOT NULL) "
                "AND id < (SELECT max(id) FROM lives)"
            )
            sql.execute("PRAGMA incremental_vacuum(1000)").fetchall()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return a transaction for those who count: nothing is changed by it, and nobody locked out."""
        return self._transaction(_READ)

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def put_aside(self) -> str:
        """Rename a damaged journal, so that a new one is begun; return its new name, empty if somebody else did."""
        self.close()
        try:
            return store.set_aside(self.file, self._inode, PATIENCE)
        except OSError as error:
            raise JournalError(f"{self.file}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise JournalError(f"{self.file}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        """Return the connection to the file that lies there now."""
        there = store.inode(self.file)
        if self._connection is None or there != self._inode:
            self.close()
            self._inode = there  # it may turn out to be damaged
            opened = store.connect if self._make else store.reader
            self._connection, self._inode = opened(self.file, PATIENCE)
        return self._connection

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        try:
            sql = self._open()
            sql.execute(begin)
            try:
                yield sql
                sql.execute("COMMIT")
            except BaseException:
                sql.rollback()
                raise
        except sqlite3.Error as error:
            self.close()
            kind = DamagedError if store.is_damaged(error, self.file) else JournalError
            raise kind(f"{self.file}: {error}") from error
        except UnicodeDecodeError as error:  # what SQLite wanted to say holds bytes that are no text
            self.close()
            raise DamagedError(f"{self.file}: {error}") from error
        except OSError as error:
            self.close()
            raise JournalError(f"{self.file}: {error.strerror}") from error


def _newest(sql: sqlite3.Connection) -> Life | None:
    row = sql.execute(f"SELECT {_LIFE} FROM lives ORDER BY id DESC LIMIT 1").fetchone()  # names of ours
    return _life(row) if row else None


def _life(row: tuple[Any, ...]) -> Life:
    with _sensible(row, _LIFE_TYPES):
        life = Life(*row)
        return replace(life, guilt=Guilt(life.guilt) if life.guilt else None)


def _number(row: tuple[Any, ...]) -> int:
    with _sensible(row, (int,)):
        return int(*row)


def _is_done(changed: sqlite3.Cursor) -> bool:
    """Tell whether a change of one row has found it as it was to be."""
    return changed.rowcount == 1


def _jobs(sql: sqlite3.Connection, condition: str, *values: object) -> list[Job]:
    rows = sql.execute(f"SELECT {_JOB} FROM jobs WHERE {condition}", values)  # conditions of ours
    return [_job(row) for row in rows.fetchall()]


def _job(row: tuple[Any, ...]) -> Job:
    with _sensible(row, _JOB_TYPES):
        job = Job(*row)
        return replace(job, state=State(job.state), waits=Waits(job.waits))


@contextmanager
def _sensible(row: tuple[Any, ...], types: tuple[Any, ...]) -> Iterator[None]:
    """Have a row understood; one that makes no sense is a sign that the journal is damaged."""
    if not all(map(isinstance, row, types)):
        raise store.ForeignError(f"a row that makes no sense: {row[0]}")
    try:
        yield
    except ValueError as error:
        raise store.ForeignError(f"a row that makes no sense: {error}") from error


def _body(text: object) -> dict[str, Any] | None:
    """Return what was kept of a submission; None if that makes no sense."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not found.keys() >= {"prompt", "extra_data", "outputs"}:
        return None
    return found if isinstance(found["extra_data"], dict) else None


def _decided(sql: sqlite3.Connection, jobs: Iterable[Job], fate: Fate) -> list[Job]:
    """Write down what becomes of jobs."""
    decided = [fate(job) for job in jobs]
    for job in decided:
        how = (job.state.value, job.life, job.asked, job.waits.value, job.suspect, job.victim, job.note)
        values = (*how, time.time(), job.seq)
        sql.execute(
            "UPDATE jobs SET state = ?, life = ?, asked = ?, waits = ?, suspect = ?, victim = ?, note = ?, changed = ? "
            "WHERE seq = ?",
            values,
        )
    return decided


def _arranged(
    sql: sqlite3.Connection, begun: Collection[int], decided: Sequence[Job], waiting: Sequence[Job]
) -> list[Job]:
    """Give jobs new numbers, and return those that were decided on.

    What was begun comes first, then they keep their order, also with those that wait since an earlier death.
    """
    order = sorted((*decided, *waiting), key=lambda job: (job.seq not in begun, job.number, job.seq))
    numbers = {job.seq: number for number, job in enumerate(order, start=_next_number(sql))}
    sql.executemany("UPDATE jobs SET number = ? WHERE seq = ?", [(number, seq) for seq, number in numbers.items()])
    return [replace(job, number=float(numbers[job.seq])) for job in decided]


def _next_number(sql: sqlite3.Connection) -> int:
    """Return a number that no job was submitted again with: ComfyUI runs them in its order, and knows it by it."""
    (last,) = sql.execute(
        "SELECT max(number) FROM jobs WHERE number >= ? AND number < ?", (BAND, rows.REPLAYED)
    ).fetchone()
    return int(BAND if last is None else last + 1)
