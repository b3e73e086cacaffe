"""The listener's side of the journal: order, charges, operators' orders; another process has it open, too."""

from __future__ import annotations

import fcntl
import os
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import store
from comfy_supervisor.jobs.job import Guilt, Job, Life, Process, State, Tally, Waits
from comfy_supervisor.jobs.journal import DamagedError, Journal, JournalError

from .conftest import Kept


def test_order_outlives_several_deaths_also_in_the_midst_of_a_replay(kept: Kept) -> None:
    first = kept.life(1)
    kept.accept(first, "a", "b", "c")
    kept.settle(first)
    second = kept.life(2)
    kept.journal.found(kept.job("a"), second, State.QUEUED)  # the others wait when it dies again
    kept.accept(second, "d")
    kept.settle(second)
    assert kept.waiting() == ["a", "b", "c", "d"]
    third = kept.life(3)
    for prompt_id in "abcd":
        kept.journal.found(kept.job(prompt_id), third, State.QUEUED)
    kept.accept(third, "front", first=-9.0)
    kept.settle(third)
    assert kept.waiting() == ["a", "b", "c", "d", "front"]


def test_what_ran_comes_first_and_a_suspect_last(kept: Kept) -> None:
    life = kept.life(1)
    kept.accept(life, "ran", state=State.RUNNING, first=5.0)
    kept.accept(life, "front", first=-1.0)
    kept.settle(life, Guilt.VICTIM)
    assert kept.waiting() == ["ran", "front"]
    again = kept.life(2)
    for prompt_id in ("front", "ran"):
        kept.journal.found(kept.job(prompt_id), again, State.RUNNING if prompt_id == "ran" else State.QUEUED)
    kept.settle(again, Guilt.SUSPECT)
    assert kept.waiting() == ["front", "ran"]


def test_numbers_ascend_and_never_repeat(kept: Kept) -> None:
    """Nor does a user's absurd number disturb them."""
    given: list[float] = []
    for death in range(1, 6):
        life = kept.life(death)
        for user, number in (("a", -1e300), ("b", -1e12), ("c", -9e11)):
            kept.accept(life, f"new-{death}-{user}", first=number)
        for prompt_id in kept.waiting():
            kept.journal.found(kept.job(prompt_id), life, State.QUEUED)
        given += [job.number for job in kept.settle(life)]
    assert given == sorted(set(given))
    assert (min(given), max(given) < -1e12) == (-2e12, True)


@pytest.mark.parametrize(("jobs", "cause"), [("a", ""), ("ab", ""), ("abc", ""), ("ab", "stalled")])
def test_whether_a_job_is_only_thought_to_have_run_is_known(kept: Kept, jobs: str, cause: str) -> None:
    """Alone it did; and what the listener ended a life for, it has seen run."""
    process = Process("boot", 1, 1.0)
    life = kept.journal.begin_life(process, time.time())
    kept.accept(life, *jobs)
    kept.journal.blame(process, cause, Guilt.SUSPECT)
    seen: list[Job] = []
    blamed = kept.journal.newest_life()
    assert blamed
    kept.journal.settle(blamed, Guilt.SUSPECT, lambda job: seen.append(job) or job)  # type: ignore[func-returns-value]
    assert [(job.prompt_id, job.state) for job in seen] == [
        (each, State.QUEUED if number else State.RUNNING) for number, each in enumerate(jobs)
    ]
    assert [job.guessed for job in seen] == [len(jobs) > 1 and not cause, *[False] * (len(jobs) - 1)]


def test_of_a_life_seen_from_outside_the_first_is_taken_for_the_one_that_ran(kept: Kept) -> None:
    life = kept.journal.begin_life(Process("boot", 1, 1.0), time.time())
    kept.accept(life, "a", "b")
    kept.settle(life, Guilt.VICTIM)
    assert [kept.job(each).victim for each in "ab"] == [1, 0]


def test_what_was_settled_is_not_settled_again(kept: Kept) -> None:
    life, current = kept.life(1), kept.life(2)
    kept.accept(life, "a")
    assert [each.id for each in kept.journal.unsettled(current)] == [life.id]
    assert [job.prompt_id for job in kept.settle(life)] == ["a"]
    assert kept.journal.unsettled(current) == []
    assert kept.settle(life) == []


def test_jobs_of_a_life_that_the_journal_does_not_know_are_those_of_a_dead_one(kept: Kept) -> None:
    """Nobody would ever put them back: who speaks for a life has entered it before its jobs."""
    current = kept.life(1)
    kept.accept(replace(current, id=0), "a", "b")
    kept.accept(current, "c")
    (unknown,) = kept.journal.unsettled(current)
    assert unknown == Life(0, "", "", 0, 0.0, "extension", "", None)
    assert [job.prompt_id for job in kept.settle(unknown)] == ["a", "b"]
    assert kept.waiting() == ["a", "b"]
    assert kept.journal.unsettled(current) == []


def test_jobs_of_what_is_no_life_are_a_sign_of_damage(kept: Kept) -> None:
    life = kept.life(1)
    kept.accept(life, "a", "b")
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET life = 'x' WHERE prompt_id = 'a'")
        sql.execute("UPDATE jobs SET life = 99 WHERE prompt_id = 'b'")
    with pytest.raises(DamagedError, match="makes no sense"):
        kept.journal.unsettled(life)


NONSENSE = {
    "UPDATE jobs SET waits = 'long'": "'long' is not a valid Waits",
    "UPDATE jobs SET number = 'x'": "makes no sense: 1$",
    "UPDATE lives SET guilt = 'x'": "'x' is not a valid Guilt",
    "UPDATE lives SET pid = 'x'": "makes no sense: 1$",
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_row_that_makes_no_sense_is_a_sign_of_damage(kept: Kept, nonsense: str) -> None:
    kept.accept(kept.life(1), "a")
    with kept.journal._transaction() as sql:
        sql.execute(nonsense)
    with pytest.raises(DamagedError, match=NONSENSE[nonsense]):
        kept.journal.newest_life() if "lives" in nonsense else kept.journal.jobs()


def test_what_can_not_be_told_in_words_is_damage(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite quotes the file, and Python 3.10 takes that for text."""

    def fails(*_: object) -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr(store, "connect", fails)
    with pytest.raises(DamagedError, match="can't decode"):
        kept.journal.jobs()


@pytest.mark.parametrize("deed", [Journal.jobs, Journal.put_aside])
def test_a_folder_that_is_gone_is_an_error_of_the_journals(tmp_path: Path, deed: Callable[[Journal], object]) -> None:
    with pytest.raises(JournalError, match=r"none/journal.sqlite: No such file or directory$"):
        deed(Journal(tmp_path / "none"))


def test_a_folder_that_is_in_use_for_long_is_an_error_of_the_journals(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_supervisor.jobs.journal.PATIENCE", 0.05)
    folder = os.open(Path(kept.journal.file).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(JournalError, match="its folder is locked"):
            kept.journal.put_aside()
    finally:
        os.close(folder)


@pytest.mark.parametrize("other", [-1, 1])
def test_the_file_that_lies_there_now_is_read(kept: Kept, other: int) -> None:
    kept.journal.jobs()
    first = kept.journal._connection
    kept.journal.jobs()
    assert kept.journal._connection is first
    kept.journal._inode += other
    kept.journal.jobs()
    assert kept.journal._connection is not first


@pytest.mark.parametrize("blamed", [False, True])
def test_a_life_that_another_followed_in_its_process_ended_through_no_job(kept: Kept, blamed: bool) -> None:
    """Whatever that process ended of later on, and though a listener was once about to end it, and was killed."""
    kept.accept(kept.life(1), "a", state=State.RUNNING)
    if blamed:
        kept.journal.blame(Process("boot", 1, 1.0), "stalled", Guilt.SUSPECT)
    kept.journal.begin_life(Process("boot", 1, 1.0, image=7), 0.0)
    (dead,) = kept.journal.unsettled(kept.life(2))
    assert (dead.cause, dead.guilt) == ("", Guilt.INNOCENT)
    kept.settle(dead, Guilt.INNOCENT)
    with kept.journal.reading() as sql:
        rows = sql.execute("SELECT pid, cause, guilt FROM lives ORDER BY id").fetchall()
    assert rows == [(1, "", "innocent"), (1, "", None), (2, "", None)]


def test_the_end_of_a_process_is_that_of_its_last_life(kept: Kept) -> None:
    for image in (6, 7):
        kept.journal.begin_life(Process("boot", 1, 1.0, image), 0.0)
    kept.life(2)
    kept.journal.ended(Process("boot", 1, 1.0), Guilt.SUSPECT)
    kept.journal.ended(Process("another boot", 2, 2.0), Guilt.SUSPECT)
    kept.journal.ended(Process("boot", 2, 1.0), Guilt.SUSPECT)
    with kept.journal.reading() as sql:
        guilts = sql.execute("SELECT guilt FROM lives ORDER BY id").fetchall()
    assert guilts == [("innocent",), ("suspect",), (None,)]


@pytest.mark.parametrize(("state", "charged"), [(State.DONE, 0), (State.FAILED, 0), (State.DELETED, 0), (None, 1)])
def test_an_id_that_is_used_anew_inherits_no_charges_of_what_has_ended(
    kept: Kept, state: State | None, charged: int
) -> None:
    """Else the second job would be set aside at its first death."""
    life = kept.life(1)
    kept.accept(life, "a", state=State.RUNNING)
    kept.settle(life, Guilt.SUSPECT)
    if state:
        kept.journal.found(kept.job("a"), life, state)
    kept.accept(kept.life(2), "a")
    assert kept.job("a").suspect == charged


def test_blame_is_for_the_life_that_runs(kept: Kept) -> None:
    kept.life(1)
    kept.journal.blame(Process("boot", 1, 1.0), "stalled", Guilt.SUSPECT)
    kept.life(2)
    kept.journal.blame(Process("boot", 1, 1.0), "recycled", Guilt.INNOCENT)
    newest = kept.journal.newest_life()
    assert newest
    assert (newest.pid, newest.guilt) == (2, None)


@pytest.mark.parametrize(("state", "life"), [("queued", True), ("running", True), ("done", True)])
def test_no_retry_of_what_is_not_set_aside(kept: Kept, state: str, life: bool) -> None:
    """Or it would run twice at a time."""
    kept.accept(kept.life(1), "a", state=State(state))
    before = kept.job("a")
    assert not kept.journal.retry(before)
    assert (kept.job("a").life, kept.job("a").state, kept.job("a").number) == (1, State(state), 0.0)


def test_retry_forgives_and_queues_it_last(kept: Kept) -> None:
    life = kept.life(1)
    kept.accept(life, "a", "b", state=State.RUNNING)
    kept.settle(life, Guilt.SUSPECT)
    again = kept.life(2)
    kept.journal.found(kept.job("a"), again, State.RUNNING)
    kept.settle(again, Guilt.SUSPECT)
    assert kept.job("a").state is State.QUARANTINED
    assert kept.journal.retry(kept.job("a"))
    job = kept.job("a")
    assert (job.state, job.suspect, job.waits, job.life) == (State.QUEUED, 0, Waits.NOT, None)
    assert job.number > kept.job("b").number


def test_drop_is_for_what_is_as_it_was_seen(kept: Kept) -> None:
    life = kept.life(1)
    kept.accept(life, "a")
    seen = kept.job("a")
    kept.settle(life)
    assert not kept.journal.drop(seen)
    assert kept.journal.drop(kept.job("a"))
    assert (kept.job("a").state, kept.journal.body(seen.seq)) == (State.DELETED, None)


GRAPH = '"prompt":{},"extra_data":{},"outputs":[]'


@pytest.mark.parametrize(
    ("text", "is_kept"),
    [
        (f"{{{GRAPH}}}", True),
        (f'{{{GRAPH},"of a later version":1}}', True),
        ('{"prompt":{},"extra_data":{}}', False),
        ('{"prompt":{},"extra_data":[],"outputs":[]}', False),
        ('["prompt","extra_data","outputs"]', False),
        ("{", False),
        ("[" * 100_000, False),
        (b"{}", False),
    ],
    ids=["one", "more", "less", "no extra_data", "a list", "no JSON", "too deep", "no text"],
)
def test_a_graph_that_makes_no_sense_is_none(kept: Kept, text: object, is_kept: bool) -> None:
    kept.accept(kept.life(1), "a")
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE bodies SET body = ?", (text,))
    assert (kept.journal.body(1) is not None) is is_kept


def test_a_users_word_that_reaches_comfyui_by_us_is_the_users(kept: Kept) -> None:
    kept.accept(kept.life(1), "a", "b", state=State.RUNNING)
    assert kept.journal.ask("a", by="user")
    assert kept.journal.ask("b")
    assert [kept.job(each).asked for each in "ab"] == ["user", "listener+"]


def test_a_job_is_found_by_how_its_id_begins(kept: Kept) -> None:
    """But one whose whole id that is, is meant alone."""
    kept.accept(kept.life(1), "ab", "abc", "abcd", "b")
    for text, found in (("ab", ["ab"]), ("a", ["ab", "abc", "abcd"]), ("abc", ["abc"]), ("c", [])):
        assert [job.prompt_id for job in kept.journal.beginning(text)] == found


def test_jobs_are_counted_by_where_they_are(kept: Kept) -> None:
    life = kept.life(1)
    for count, state in enumerate(State, 1):
        kept.accept(life, *(f"{state.value}-{number}" for number in range(count)), state=state)
    assert kept.journal.tally() == Tally(1, 2, 0, 6, 3, 4, 5)
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET life = NULL WHERE prompt_id LIKE '%-0'")
    assert kept.journal.tally() == Tally(0, 2, 1, 6, 3, 4, 5)


def test_a_job_that_fails_when_it_is_run_again_without_its_keys_says_so(kept: Kept) -> None:
    """Seen from outside, too, and also if it had failed before its submission was known to be taken."""
    life = kept.life(1)
    for number, prompt_id in enumerate("abc"):
        extra_data = {"api_key_comfy_org": "SESAME"} if prompt_id != "c" else {}
        kept.journal.accept((number, prompt_id, {}, extra_data, []), life, State.QUEUED)
    kept.settle(life)
    again = kept.life(2)
    kept.journal.found(kept.job("a"), again, State.FAILED, "no")
    for each in "bc":
        kept.journal.found(kept.job(each), again, State.QUEUED)
        kept.journal.moved(kept.job(each), State.FAILED, "no")
    without = "run again without its API keys (api_key_comfy_org): no"
    assert [kept.job(each).note for each in "abc"] == [without, without, "no"]


def test_prune_keeps_the_newest_and_all_that_is_unfinished(kept: Kept) -> None:
    life = kept.life(1)
    kept.accept(life, *(f"job-{number}" for number in range(10)))
    kept.accept(life, "waits")
    for number in range(10):
        kept.journal.moved(kept.job(f"job-{number}"), State.DONE)
        time.sleep(0.001)
    kept.life(2)
    kept.journal.prune(3)
    assert {job.prompt_id for job in kept.journal.jobs()} == {"job-7", "job-8", "job-9", "waits"}
    assert kept.journal.tally() == Tally(queued=1, done=3)
    newest = kept.journal.newest_life()
    assert newest
    assert newest.pid == 2


def test_prune_behind_anothers_lock_is_an_error_of_the_journals(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_supervisor.jobs.journal.PATIENCE", 0.05)
    kept.journal.prune(1)
    with closing(sqlite3.connect(kept.journal.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            Journal(Path(kept.journal.file).parent).prune(1)


def test_two_processes_write_and_lose_nothing(kept: Kept) -> None:
    folder = Path(kept.journal.file).parent
    life = kept.life(1)
    code = (
        "import sys; from comfy_supervisor.jobs.journal import Journal; from comfy_supervisor.jobs.job import *\n"
        "journal = Journal(sys.argv[1]); life = journal.newest_life()\n"
        "for n in range(100): journal.accept((float(n), f'other-{n}', {}, {}, []), life, State.QUEUED)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)]) as process:
        kept.accept(life, *(f"mine-{number}" for number in range(100)))
        assert process.wait(60) == 0
    assert kept.journal.tally().queued == 200


def test_a_damaged_file_is_set_aside_once(kept: Kept) -> None:
    """Not the new one, which the other side has begun meanwhile."""
    kept.life(1)
    kept.journal.close()
    file = Path(kept.journal.file)
    for each in file.parent.glob("journal.sqlite*"):
        each.unlink()
    file.write_bytes(os.urandom(20_000))
    other = Journal(file.parent)
    for journal in (kept.journal, other):
        with pytest.raises(DamagedError):
            journal.newest_life()
    assert other.put_aside()
    other.begin_life(Process("boot", 2, 2.0), time.time())
    assert kept.journal.put_aside() == ""
    newest = kept.journal.newest_life()
    assert newest
    assert newest.pid == 2
    other.close()


def test_nobody_opens_a_journal_that_is_half_set_aside(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the write-ahead log of the old one, it would write where nobody reads."""
    kept.life(1)
    file, known = kept.journal.file, store.inode(kept.journal.file)
    kept.journal.close()
    Path(f"{file}-wal").write_bytes(b"x" * 5000)
    with _opener(Path(file).parent) as other:
        assert other.stdin
        output = other.stdout
        assert output
        told: list[str] = []

        def replaced(old: str, new: str) -> None:
            Path(old).rename(new)
            if not told:
                _say(other.stdin, "open")
                told.append("open")
                select.select([output], [], [], 1.0)  # it would have opened it by now

        monkeypatch.setattr(os, "replace", replaced)
        assert store.set_aside(file, known, 5.0)
        assert told
        assert output.readline() == "begun\n"
        newest = kept.journal.newest_life()
        _say(other.stdin, "end")
    assert newest
    assert newest.pid == 7


@contextmanager
def _opener(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that begins a life when it is told to, and keeps the journal open until it is told to end."""
    code = (
        "import sys; from comfy_supervisor.jobs.job import Process; from comfy_supervisor.jobs.journal import Journal; "
        "journal = Journal(sys.argv[1]); print('ready', flush=True); input(); "
        "journal.begin_life(Process('boot', 7, 7.0), 7.0); print('begun', flush=True); input()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process


def _say(pipe: IO[str] | None, line: str) -> None:
    assert pipe
    print(line, file=pipe, flush=True)


def test_who_only_reads_makes_and_changes_nothing(tmp_path: Path) -> None:
    reader = Journal(tmp_path, make=False)
    assert not reader.exists
    with pytest.raises(JournalError):
        reader.jobs()
    assert not list(tmp_path.iterdir())
