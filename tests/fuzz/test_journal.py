"""Journals in which bytes are not what they were: read, or set aside, after which a new one works; never a crash."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from hypothesis import event, example, given
from hypothesis import strategies as st

from comfy_supervisor.extension.comfy_supervisor_bridge import life as bridge_life
from comfy_supervisor.extension.comfy_supervisor_bridge import store
from comfy_supervisor.extension.comfy_supervisor_bridge.journal import Journal as ExtensionJournal
from comfy_supervisor.jobs import fate
from comfy_supervisor.jobs.comfy import submission
from comfy_supervisor.jobs.job import Guilt, Process, State
from comfy_supervisor.jobs.journal import DamagedError, Journal

from . import bounded, damaged, examples, values, words

GRAPH = {"1": {"class_type": "KSampler", "inputs": {"text": "x" * 300}}}
POLICY = fate.Policy()


def _well() -> dict[str, bytes]:
    """Return a journal's files, by what their names end with: some jobs of two lives, the newest not checkpointed."""
    with tempfile.TemporaryDirectory() as folder, closing(Journal(folder)) as journal:
        for number in range(2):
            life = journal.begin_life(Process("boot", number, float(number)), time.time())
            for job in range(4):
                state = State.RUNNING if job == 0 else State.QUEUED
                journal.accept([job, f"job-{number}-{job}", GRAPH, {"client_id": "me"}, ["1"]], life, state)
            if number == 0:
                with closing(sqlite3.connect(journal.file)) as sql:
                    sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return {end: Path(journal.file + end).read_bytes() for end in ("", "-wal")}


WELL = _well()


def work(journal: Journal) -> int:
    """Do what the listener and the commands do with a journal; return how many jobs it knows of."""
    journal.version()
    now = time.time()
    life = journal.begin_life(Process("boot", 9, 9.0), now)
    journal.accept([1, "new", GRAPH, {}, ["1"]], life, State.QUEUED)
    journal.newest_life()
    for dead in journal.unsettled(life):
        journal.settle(dead, Guilt.VICTIM, lambda job: fate.after_death(job, Guilt.VICTIM, POLICY, now))
    for job in journal.to_submit():
        body = journal.body(job.seq)
        if body is not None:
            submission(job.prompt_id, body)
        journal.submitting(job, life)
    journal.in_doubt(life)
    journal.obedient()
    journal.tally()
    journal.prune(1)
    journal.beginning("job")
    return len(journal.jobs())


def works(journal: Journal) -> str:
    """Return how the listener came through: what is damaged is set aside, and the new one works at once."""
    try:
        work(journal)
    except DamagedError:
        assert journal.put_aside()
        assert work(journal) == 1
        return "set aside"
    return "read"


def laid(folder: str, files: dict[str, bytes]) -> Journal:
    """Lay a journal's files down, as they are found after a crash."""
    for end, content in files.items():
        Path(folder, store.NAME + end).write_bytes(content)
    return Journal(folder)


@examples(200)
@given(st.one_of(damaged(WELL[""]), st.binary(max_size=200)), st.one_of(damaged(WELL["-wal"]), st.just(WELL["-wal"])))
@example(WELL[""].replace(b"queued", b"\xff\xfe\xfdued"), b"")
@example(WELL[""].replace(b"queued", b"queuee"), b"")
@example(WELL[""][:18] + b"\x03" + WELL[""][19:], b"")
@example(WELL[""][:19] + b"\x03" + WELL[""][20:], b"")
@example(WELL[""][:47] + b"c" + WELL[""][48:], b"")
@example(WELL[""].replace(b"running", b"runninh"), b"")
@example(WELL[""].replace(b'{"prompt"', b'["prompt"'), b"")
@example(WELL[""].replace(b'"extra_data"', b'"extra_dbta"'), b"")
def test_a_damaged_journal_is_read_or_set_aside(database: bytes, log: bytes) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        bounded(),
        closing(laid(folder, {"": database, "-wal": log})) as journal,
    ):
        event(works(journal))


@examples(60)
@given(damaged(WELL[""]), damaged(WELL["-wal"]))
def test_comfyui_goes_on_whatever_its_journal_is(database: bytes, log: bytes) -> None:
    """The extension's side: nothing raises, and what is accepted is written down, in this journal or the next."""
    with tempfile.TemporaryDirectory() as folder:
        laid(folder, {"": database, "-wal": log})
        said: list[str] = []
        me = bridge_life.this_one()
        journal = ExtensionJournal(str(Path(folder, store.NAME)), me, said.append)
        item: tuple[object, ...] = (1, "new", GRAPH, {}, ["1"])
        with bounded():
            journal.open()
            journal.take_stock([], [item])
            journal.taken(item)
            journal.ended("new", "done")
            journal.settle()
        event(f"ok: {journal.ok}")


rows = st.fixed_dictionaries(
    {},
    optional={
        "jobs.state": st.sampled_from(["queued", "running", "quarantined", "done"]),
        "jobs.waits": words,
        "jobs.number": st.one_of(words, st.floats(allow_nan=False), st.binary(max_size=8)),
        "jobs.note": st.one_of(words, st.binary(max_size=8)),
        "jobs.suspect": st.one_of(st.integers(-(2**63), 2**63 - 1), words),
        "jobs.prompt_id": st.one_of(words, st.binary(max_size=8)),
        "jobs.accepted": st.one_of(words, st.floats(allow_nan=False)),
        "lives.guilt": words,
        "lives.token": words,
        "lives.boot": words,
        "lives.witness": st.sampled_from(["listener", "extension", "x"]),
        "lives.pid": st.one_of(words, st.integers(-(2**63), 2**63 - 1)),
        "lives.started": words,
        "bodies.body": st.one_of(words, values.map(json.dumps), st.binary(max_size=20)),
    },
)


@examples(200)
@given(rows)
@example({"bodies.body": "["})
@example({"bodies.body": "[1]"})
@example({"jobs.waits": "x"})
@example({"lives.guilt": "x"})
@example({"lives.token": "x/y", "lives.witness": "listener"})
@example({"jobs.number": "x"})
@example({"jobs.accepted": "x"})
@example({"jobs.suspect": "x"})
def test_a_journal_whose_rows_make_no_sense_is_read_or_set_aside(changes: dict[str, object]) -> None:
    """Sound for SQLite, and written by whoever owns the folder."""
    with tempfile.TemporaryDirectory() as folder, closing(laid(folder, WELL)) as journal:
        with closing(sqlite3.connect(journal.file)) as sql, sql:
            for name, value in changes.items():
                table, column = name.split(".")
                where = f"WHERE rowid = (SELECT max(rowid) FROM {table})"
                sql.execute(f"UPDATE OR IGNORE {table} SET {column} = ? {where}", (_stored(value),))
        with bounded():
            event(works(journal))


def _stored(value: object) -> object:
    """Return what SQLite takes of a value: half a character it doesn't."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
