"""When a porter does what: its turns, one by one, by a clock that the tests move."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_supervisor.jobs import porter
from comfy_supervisor.jobs.comfy import Ending
from comfy_supervisor.jobs.fate import Policy
from comfy_supervisor.jobs.job import Guilt, Life, Process, State
from comfy_supervisor.jobs.journal import JournalError
from comfy_supervisor.jobs.porter import Sighting, Ward

from .conftest import ME, PROCESS, SEEN, Carried, Kept, Server, speaks


class Turns:
    """A porter that does one turn when it is told to."""

    def __init__(self, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, **ward: Any) -> None:
        self.now = 0.0
        self.lives = 0
        """How often was asked which life runs: at each turn in which anything is looked at."""
        monkeypatch.setattr(porter, "time", SimpleNamespace(monotonic=lambda: self.now, time=time.time))
        self.carried = Carried(folder, server, **ward)
        self.porter, self.said = self.carried.porter, self.carried.said
        newest_life = self.porter._journal.newest_life

        def counted() -> Life | None:
            self.lives += 1
            return newest_life()

        monkeypatch.setattr(self.porter._journal, "newest_life", counted)

    def at(self, now: float, sighting: Sighting | None = None) -> None:
        """Do a turn at this time: by CLOCK_MONOTONIC, which may be the machine's first second."""
        self.now = now
        if sighting:
            self.porter.see(sighting)
        self.porter._guarded(self.porter._turn)

    def looks(self, *times: float) -> list[float]:
        """Return at which of these times anything is looked at."""
        found = []
        for now in times:
            before = self.lives
            self.at(now)
            found += [now] * (self.lives > before)
        return found


@pytest.fixture
def turns(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Turns]:
    one = Turns(tmp_path, server, monkeypatch)
    yield one
    one.porter._journal.close()


@pytest.fixture
def outside(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Turns]:
    """One whose ComfyUI is not told to load the extension."""
    one = Turns(tmp_path, server, monkeypatch, extension=False)
    yield one
    one.porter._journal.close()


def _pids(kept: Kept) -> list[int]:
    with kept.journal.reading() as sql:
        return [pid for (pid,) in sql.execute("SELECT pid FROM lives ORDER BY id").fetchall()]


def test_a_life_is_followed_from_outside_once_it_has_answered_for_a_while(turns: Turns, kept: Kept) -> None:
    """The extension may be late. While it does not answer, it is waited for anew."""
    turns.at(0.0, SEEN)
    turns.at(4.9)
    assert (_pids(kept), turns.said) == ([], [])
    turns.at(5.0, replace(SEEN, answers=False))
    turns.at(6.0, SEEN)
    turns.at(10.9)
    assert _pids(kept) == []
    turns.at(11.0)
    assert _pids(kept) == [ME.pid]
    assert turns.said == [
        "ComfyUI runs without our extension: its jobs are known only from looks at its queue, 6 s apart, or 20 times "
        "as long as it takes to be read: what has come since the last one dies with it"
    ]


def test_the_extension_is_given_time_to_enter_its_life_into_a_new_journal(turns: Turns, kept: Kept) -> None:
    """Somebody has deleted the old one, which the extension sees within a second, and the listener perhaps sooner."""
    speaks(kept)
    turns.at(0.0, SEEN)
    turns.at(60.0)
    kept.journal.put_aside()
    turns.at(71.0)
    turns.at(75.9)
    assert (_pids(kept), turns.said) == ([], [])
    turns.at(76.0)
    assert _pids(kept) == [ME.pid]


def test_where_no_extension_is_loaded_nobody_waits_for_it_nor_misses_it(outside: Turns, kept: Kept) -> None:
    outside.at(0.0, SEEN)
    assert (_pids(kept), outside.said) == ([ME.pid], [])


@pytest.mark.parametrize("sighting", [replace(SEEN, process=None), replace(SEEN, answers=False)])
def test_nothing_is_noted_of_what_does_not_run_or_answer(outside: Turns, kept: Kept, sighting: Sighting) -> None:
    outside.at(0.0, sighting)
    outside.at(60.0)
    assert (_pids(kept), outside.lives) == ([], 0)


def test_a_process_that_has_ended_since_is_not_noted(outside: Turns, kept: Kept) -> None:
    outside.at(0.0, replace(SEEN, process=replace(PROCESS, started=PROCESS.started - 1.0)))
    assert _pids(kept) == []


@pytest.mark.parametrize("late", [10.0, 12.5])
def test_how_a_life_ended_is_waited_for_ten_seconds_and_then_it_came_from_outside(
    turns: Turns, kept: Kept, server: Server, late: float
) -> None:
    """Nothing overtakes its jobs meanwhile."""
    before = kept.life(0)
    kept.accept(before, "waits")
    kept.settle(before)
    dead = kept.life(1)
    kept.accept(dead, "a", state=State.RUNNING)
    kept.accept(dead, "b")
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE lives SET boot = ?", (ME.boot,))
    speaks(kept)
    turns.carried.endings[1] = None
    turns.at(0.0, SEEN)
    turns.at(9.9)
    assert (kept.job("a").life, turns.said, server.submitted) == (dead.id, [], [])
    turns.at(late)
    assert server.submitted == ["a", "waits", "b"]
    assert (kept.job("a").victim, kept.job("a").suspect) == (1, 0)
    assert turns.said == [
        "ComfyUI's process 1 has ended: 2 of its 2 jobs are queued again",
        "job a, victim of that end: it is tried again first (ran at 1 death)",
    ]
    assert [(before.state, now.state) for before, now in turns.carried.told] == [
        (State.RUNNING, State.QUEUED),
        (State.QUEUED, State.QUEUED),
    ]


@pytest.mark.parametrize("ending", ["", None])
def test_an_end_that_nobody_can_tell_is_not_written_down(turns: Turns, kept: Kept, ending: str | None) -> None:
    kept.life(1)
    turns.carried.endings[1] = ending
    turns.porter._note_end(Process("boot", 1, 1.0))
    newest = kept.journal.newest_life()
    assert newest
    assert newest.guilt is None


def test_what_becomes_of_the_jobs_of_a_life_is_said(turns: Turns, kept: Kept) -> None:
    """Of those only that do not just go on waiting."""
    dead = kept.life(1)
    kept.journal.blame(Process("boot", 1, 1.0), "stalled", Guilt.SUSPECT)
    kept.accept(dead, *"ab", state=State.RUNNING)
    kept.accept(dead, *"cde", first=2.0)
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET suspect = 1, victim = 2 WHERE prompt_id = 'a'")
        sql.execute("UPDATE jobs SET asked = 'user' WHERE prompt_id = 'b'")
        sql.execute("UPDATE jobs SET accepted = 0.0, victim = 1 WHERE prompt_id = 'c'")
        sql.execute("UPDATE jobs SET accepted = 0.0 WHERE prompt_id = 'd'")
    speaks(kept)
    turns.at(0.0, SEEN)
    assert turns.said == [
        "ComfyUI's process 1 has ended (stalled): 1 of its 5 jobs are queued again",
        "job a, suspect of that end: it is set aside (suspected of 2 deaths, ran at 2 deaths): "
        "comfy-supervisor jobs retry a",
        "job b, suspect of that end: its user had asked it to give up, so that it is not tried again",
        "job c, suspect of that end: it waits for an operator (old): comfy-supervisor jobs retry c",
    ]


def test_one_that_gave_up_when_asked_is_told_of_as_it_was(turns: Turns, kept: Kept, server: Server) -> None:
    life = speaks(kept)
    kept.accept(life, "a", state=State.RUNNING)
    assert kept.journal.ask("a")
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET asked = 'obeyed'")
    turns.at(0.0, SEEN)
    assert turns.said == ["job a gave up when asked; it is tried again last and alone (suspected of 1 death)"]
    assert [(before.state, now.state) for before, now in turns.carried.told] == [(State.RUNNING, State.QUEUED)]
    assert server.submitted == ["a"]


def test_while_nothing_changes_nothing_is_looked_at_for_ten_seconds(turns: Turns, kept: Kept) -> None:
    life = speaks(kept)
    turns.at(0.0, SEEN)
    assert turns.looks(1.0, 9.9, 10.0, 19.9, 20.5) == [10.0, 20.5]
    kept.accept(life, "a")
    assert turns.looks(21.0, 22.0) == [21.0]
    turns.porter.see(replace(SEEN, work="moved"))
    assert turns.looks(23.0, 24.0) == [23.0]


def test_what_is_not_ready_yet_is_looked_at_at_each_turn(turns: Turns, kept: Kept, server: Server) -> None:
    """And is given no job."""
    dead = kept.life(1)
    kept.accept(dead, "a")
    speaks(kept)
    turns.at(0.0, replace(SEEN, ready=False))
    assert turns.looks(1.0, 2.0) == [1.0, 2.0]
    assert (kept.waiting(), server.asked) == (["a"], [])
    turns.at(3.0, SEEN)
    assert server.submitted == ["a"]


def test_what_can_not_be_submitted_yet_is_tried_at_the_next_turn(turns: Turns, kept: Kept, server: Server) -> None:
    kept.accept(kept.life(1), "a")
    speaks(kept)
    server.told = False
    turns.at(0.0, SEEN)
    assert turns.looks(1.0, 2.0) == [1.0, 2.0]
    server.told = True
    turns.at(3.0)
    assert server.submitted == ["a"]


def _queues_read(outside: Turns, server: Server, *times: float) -> list[float]:
    """Return at which of these times its queue is looked at, where it moves at each."""
    found = []
    for now in times:
        server.asked.clear()
        outside.at(now, replace(SEEN, work=str(now)))
        found += [now] * len(server.asked)
    return found


def test_a_queue_that_moves_is_looked_at_for_a_twentieth_of_the_time(outside: Turns, server: Server) -> None:
    """It may be long to read, and ComfyUI's own thread answers."""
    server.took = 0.25
    assert _queues_read(outside, server, 0.0, 1.0, 4.9, 5.0, 9.9, 10.0) == [0.0, 5.0, 10.0]
    server.took = 2.0
    assert _queues_read(outside, server, 15.0, 54.9, 55.0) == [15.0, 55.0]


def test_a_queue_that_stands_still_is_looked_at_rarely(outside: Turns, server: Server) -> None:
    def read(*times: float) -> list[float]:
        found = []
        for now in times:
            server.asked.clear()
            outside.at(now)
            found += [now] * len(server.asked)
        return found

    outside.porter.see(replace(SEEN, ready=False))
    assert read(0.0, 15.0, 29.9, 30.0, 50.0) == [0.0, 30.0]
    server.took = 2.0
    assert read(60.0, 99.9, 100.0) == [60.0, 100.0]


def test_a_look_that_was_not_answered_is_made_good_soon(outside: Turns, server: Server) -> None:
    """As if the queue had moved: nobody knows whether it has."""
    server.took, server.told = 0.25, False
    outside.at(0.0, SEEN)
    server.told = True
    server.asked.clear()
    outside.at(4.9)
    assert server.asked == []
    outside.at(5.0)
    assert server.asked == ["queue"]


@pytest.mark.parametrize("work", ["a", "z"])
def test_work_that_has_moved_since_the_last_look_leaves_no_calm(outside: Turns, server: Server, work: str) -> None:
    """Or a job that came meanwhile would be seen ten seconds later."""
    server.took = 0.25
    outside.at(0.0, replace(SEEN, work="m"))
    outside.at(1.0, replace(SEEN, work=work))
    assert outside.looks(2.0, 3.0) == [2.0, 3.0]


def test_strange_jobs_are_told_of_once_a_life(outside: Turns, kept: Kept, server: Server) -> None:
    """However many there are."""
    for now, strange in ((0.0, 1), (30.0, 12)):
        server.strange = strange
        outside.at(now, replace(SEEN, work=str(now)))
    told = "of the jobs in /queue have a form that is not known here, and die with ComfyUI"
    assert outside.said == [f"1 {told}"]
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE lives SET token = boot || '/another'")
    outside.at(60.0, replace(SEEN, work="more"))
    assert outside.said == [f"1 {told}", f"12 {told}"]


def test_of_what_has_ended_so_much_is_remembered_and_that_is_seen_to_each_hour(
    tmp_path: Path, kept: Kept, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(tmp_path, server, monkeypatch, history=2)
    life = speaks(kept)
    kept.accept(life, *"abc", state=State.DONE)
    turns.at(0.0, SEEN)
    assert kept.journal.tally().done == 2
    kept.accept(life, "d", state=State.DONE)
    turns.at(3599.0)
    assert kept.journal.tally().done == 3
    kept.accept(life, "e", state=State.DELETED)
    turns.at(3600.0)
    assert (kept.journal.tally().done, kept.journal.tally().deleted) == (1, 1)
    turns.porter._journal.close()


def test_a_trouble_is_said_once_and_anew_when_it_comes_again(turns: Turns) -> None:
    def fails() -> None:
        raise JournalError("no disk")

    for deed in (fails, fails, lambda: None, fails):
        turns.porter._guarded(deed)
    told = "no disk; jobs are not kept meanwhile"
    assert (turns.said, turns.carried.alarms) == ([told, told], [told, told])


def test_another_trouble_is_said_at_once(turns: Turns) -> None:
    def fails(why: str) -> None:
        raise JournalError(why)

    for why in "bac":
        turns.porter._guarded(partial(fails, why))
    assert turns.said == [f"{why}; jobs are not kept meanwhile" for why in "bac"]


def test_a_porter_holds_up_no_exit(turns: Turns) -> None:
    """A question of its to ComfyUI may take long."""
    before = set(threading.enumerate())
    turns.porter.start()
    (carrying,) = set(threading.enumerate()) - before
    turns.porter.end()
    assert carrying.daemon
    carrying.join(30.0)
    assert not carrying.is_alive()


def test_an_error_of_ours_is_said_whole_and_alarms_nobody(turns: Turns) -> None:
    """Jobs may be kept all the same."""

    def fails() -> None:
        raise RuntimeError("our own")

    for _ in range(2):
        turns.porter._guarded(fails)
    (said,) = turns.said
    assert said.startswith("our own error: Traceback")
    assert said.endswith("RuntimeError: our own\n")
    assert turns.carried.alarms == []


def test_what_can_not_be_read_is_no_trouble_where_the_extension_tells(turns: Turns, kept: Kept, server: Server) -> None:
    speaks(kept)
    server.unread = "is longer than 67 MB"
    turns.at(0.0, SEEN)
    assert (turns.said, turns.carried.alarms) == ([], [])


def test_a_porter_looks_again_where_the_process_or_its_readiness_is_another(turns: Turns) -> None:
    """At once; what else is seen can wait for its turn."""
    alike = (SEEN, replace(SEEN, work="moved"), replace(SEEN, answers=False))
    others = (replace(SEEN, ready=False), Sighting())
    for sighting, wakes in ((SEEN, True), *((each, False) for each in alike), *((each, True) for each in others)):
        turns.porter.see(sighting)
        assert turns.porter._orders.qsize() == wakes
        while turns.porter._orders.qsize():
            assert turns.porter._orders.get() is None


def test_a_job_that_was_not_seen_yet_is_looked_for_before_it_is_asked(
    outside: Turns, kept: Kept, server: Server
) -> None:
    """By the time that it stands still, no look may have been due."""
    outside.at(0.0, SEEN)
    server.items, server.running = {"a": [0.0, "a", {}, {}, []]}, {"a"}
    assert outside.porter._ask("a")
    assert (kept.job("a").asked, kept.job("a").state) == ("listener+", State.RUNNING)
    assert not outside.porter._ask("b")


def _gone(turns: Turns, kept: Kept, server: Server) -> None:
    turns.porter.see(Sighting())


def _another(turns: Turns, kept: Kept, server: Server) -> None:
    turns.porter.see(replace(SEEN, process=replace(PROCESS, pid=1)))


def _speaking(turns: Turns, kept: Kept, server: Server) -> None:
    speaks(kept)


def _silent(turns: Turns, kept: Kept, server: Server) -> None:
    server.told = False


def _none(turns: Turns, kept: Kept, server: Server) -> None:
    with kept.journal._transaction() as sql:
        sql.execute("DELETE FROM lives")


@pytest.mark.parametrize("why", [_gone, _another, _speaking, _silent, _none])
def test_a_job_that_can_not_be_looked_for_is_not_asked(outside: Turns, kept: Kept, server: Server, why: Any) -> None:
    outside.at(0.0, SEEN)
    server.items, server.running = {"a": [0.0, "a", {}, {}, []]}, {"a"}
    why(outside, kept, server)
    assert not outside.porter._ask("a")


def test_the_queue_of_the_next_life_in_its_process_says_nothing_of_the_one_before(
    turns: Turns, kept: Kept, server: Server
) -> None:
    """It was seen to execute something else, and that is not written down yet."""
    image = int(ME.token.rpartition("/")[2])
    kept.accept(kept.journal.begin_life(replace(PROCESS, image=image + 1), 0.0), "before")
    turns.porter.see(replace(SEEN, process=replace(PROCESS, image=image)))
    server.items, server.running = {"a": [0.0, "a", {}, {}, []]}, {"a"}
    assert not turns.porter._ask("a")
    assert kept.job("before").state is State.QUEUED


def test_without_a_journal_a_job_may_be_asked(turns: Turns, kept: Kept) -> None:
    """Nothing is written in which it could be taken for its user's word."""
    kept.journal.close()
    folder = Path(kept.journal.file).parent
    turns.porter._journal.file = str(folder / "none" / "journal.sqlite")
    assert turns.porter._ask("a")


def test_a_life_that_began_in_another_image_is_another(
    outside: Turns, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ComfyUI-Manager's restart keeps the process; what was noted of the image stands in the life's token."""
    monkeypatch.setattr(porter, "goes_on", lambda _: True)
    images = []
    for image in (111, 111, 0, 222):
        outside.at(0.0, replace(SEEN, process=replace(PROCESS, image=image)))
        newest = kept.journal.newest_life()
        assert newest
        images.append(newest.token.rpartition("/")[2])
    assert images == ["111", "111", "111", "222"]


def test_what_was_seen_of_a_life_is_its_own_once_its_queue_can_be_read(
    turns: Turns, kept: Kept, server: Server
) -> None:
    """Until then it is not settled as if it had ended."""
    turns.at(0.0, SEEN)
    server.items = {"a": [0.0, "a", {}, {}, []]}
    turns.at(5.0)
    life = speaks(kept)
    server.told = False
    turns.at(40.0)
    assert kept.job("a").life != life.id
    server.told = True
    turns.at(41.0)
    assert (kept.job("a").life, kept.job("a").victim, kept.job("a").suspect) == (life.id, 0, 0)
    assert not turns.carried.told


def test_beside_a_life_that_was_seen_before_it_spoke_those_that_are_over_are_settled(
    turns: Turns, kept: Kept, server: Server
) -> None:
    turns.at(0.0, SEEN)
    server.items = {"a": [0.0, "a", {}, {}, []]}
    turns.at(5.0)
    kept.accept(kept.life(1), "b")
    speaks(kept)
    turns.at(40.0)
    assert server.submitted == ["b"]


@pytest.mark.parametrize("boot", ["0", "zzz"])
def test_a_life_of_another_process_that_was_seen_from_outside_is_over(
    turns: Turns, kept: Kept, server: Server, boot: str
) -> None:
    """With what was in its queue, whatever the new one has in its own."""
    other = kept.journal.begin_life(Process(boot, 1, 1.0), time.time())
    kept.accept(other, "a")
    speaks(kept)
    turns.at(0.0, SEEN)
    assert [(before.life, now.victim) for before, now in turns.carried.told] == [(other.id, 1)]
    assert server.submitted == ["a"]


def test_what_one_life_refuses_the_next_is_asked_at_once(turns: Turns, kept: Kept, server: Server) -> None:
    """Custom nodes may have been put in between; the same one is asked again rarely."""
    kept.accept(kept.life(1), "a")
    speaks(kept)
    server.refuses = {"a": "no such node"}
    turns.at(0.0, SEEN)
    turns.at(1.0)
    assert server.submitted == ["a"]
    speaks(kept)
    turns.at(2.0)
    assert server.submitted == ["a", "a"]


@pytest.mark.parametrize("changes", ["process", "ready", "ended"])
def test_nothing_is_submitted_to_what_is_no_longer_as_it_was_seen(
    turns: Turns, kept: Kept, server: Server, changes: str
) -> None:
    """The watch may have seen more while a replay goes on."""
    kept.accept(kept.life(1), *"ab")
    speaks(kept)

    def change() -> None:
        if changes == "ended":
            turns.porter.end()
        else:
            other = Process("boot", 1, 1.0) if changes == "process" else PROCESS
            turns.porter.see(replace(SEEN, process=other, ready=changes != "ready"))

    server.at_asked = change
    turns.at(0.0, SEEN)
    assert server.submitted == ["a"]
    assert kept.waiting() == ["b"]


def test_a_job_that_the_history_knows_is_not_told_of(turns: Turns, kept: Kept, server: Server) -> None:
    kept.accept(kept.life(1), "a")
    speaks(kept)
    server.history = {"a": Ending(State.DONE)}
    turns.at(0.0, SEEN)
    assert (kept.job("a").state, server.submitted) == (State.DONE, [])
    assert [job.state for _, job in turns.carried.told] == [State.QUEUED]


def test_who_waits_for_what_fails_is_let_go(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and whether or not it could be done."""
    monkeypatch.setattr(porter, "PATIENCE", 60.0)
    done: list[bool] = []

    def blames() -> None:
        turns.porter.blame(Process("boot", 1, 1.0), "stalled")
        done.append(True)

    def fails(*_: object) -> None:
        raise JournalError("no disk")

    monkeypatch.setattr(turns.porter._journal, "blame", fails)
    waiting = threading.Thread(target=blames)
    waiting.start()
    order = turns.porter._orders.get(timeout=30.0)
    assert order
    turns.porter._guarded(order)
    waiting.join(30.0)
    assert done == [True]


def test_before_anything_is_seen_nothing_is_known() -> None:
    """What is seen, and whose jobs they are, does not change: it is compared from turn to turn."""
    assert Sighting() == Sighting(None, answers=False, ready=False, work="")
    ward = Ward("state", "url", Policy())
    assert ward == Ward("state", "url", Policy(), history=10000, extension=True, seen_every=5.0)
    assert hash(ward) != hash(replace(ward, url="another"))
    assert len({Sighting(), Sighting(), SEEN}) == 2
