"""What is kept from outside, by looks at the queue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfy_supervisor.jobs import snapshot
from comfy_supervisor.jobs.comfy import Ending
from comfy_supervisor.jobs.job import SUBMITTED, Life, Process, State

from .conftest import Kept, Server

STICKY = Ending(State.FAILED, "CUDA error: unspecified launch failure")


def _look(kept: Kept, server: Server, life: Life, goes_on: bool = True, *, ends_doubt: bool = False) -> bool:
    return snapshot.follow(kept.journal, server, life, lambda: goes_on, ends_doubt=ends_doubt)


def _queued(server: Server, *prompt_ids: str, running: str = "") -> None:
    server.items = {each: [float(number), each, {}, {}, []] for number, each in enumerate(prompt_ids)}
    server.running = {running} - {""}


def test_what_comes_runs_and_ends_is_followed(kept: Kept, server: Server) -> None:
    life = kept.life(1)
    _queued(server, "a", "b", "c", running="a")
    assert _look(kept, server, life)
    assert [kept.job(each).state for each in "abc"] == [State.RUNNING, State.QUEUED, State.QUEUED]
    _queued(server, "c", running="c")
    server.history = {"a": Ending(State.DONE)}
    assert _look(kept, server, life)
    assert [kept.job(each).state for each in "abc"] == [State.DONE, State.DELETED, State.RUNNING]
    assert kept.job("b").note == snapshot.GONE


def test_a_look_that_is_not_answered_says_nothing(kept: Kept, server: Server) -> None:
    life = kept.life(1)
    _queued(server, "a")
    _look(kept, server, life)
    server.told = False
    assert not _look(kept, server, life)
    server.told, server.items = True, {}
    server.at_asked = lambda: setattr(server, "told", False)
    _look(kept, server, life)
    assert kept.job("a").state is State.QUEUED


def test_the_empty_queue_of_a_successor_says_nothing(kept: Kept, server: Server) -> None:
    """It was asked as the one before, which has died meanwhile with all its jobs."""
    life = kept.life(1)
    _queued(server, "a")
    _look(kept, server, life)
    _queued(server, "new", running="new")
    assert not _look(kept, server, life, goes_on=False)
    assert kept.job("a").state is State.QUEUED
    assert kept.journal.job("new") is None


@pytest.mark.parametrize("running", ["a", "c"])
def test_of_poisoned_jobs_the_first_ran_and_the_others_were_not_tried(kept: Kept, server: Server, running: str) -> None:
    """Whatever their places: others may have come before the one that ran."""
    life = kept.life(1)
    _queued(server, "a", "b", "c", running=running)
    _look(kept, server, life)
    _queued(server)
    server.history = dict.fromkeys("abc", STICKY)
    for _ in range(2):
        _look(kept, server, life)
        states = {each: kept.job(each).state for each in "abc"}
        assert states == {**dict.fromkeys("abc", State.QUEUED), running: State.RUNNING}


def test_who_gave_up_for_the_listener_is_tried_again(kept: Kept, server: Server) -> None:
    life = kept.life(1)
    _queued(server, "a", running="a")
    _look(kept, server, life)
    assert kept.journal.ask("a")
    _queued(server)
    server.history = {"a": Ending(State.DELETED, "interrupted")}
    for _ in range(2):
        _look(kept, server, life)
        assert (kept.job("a").state, kept.job("a").asked) == (State.RUNNING, "obeyed")


def test_a_life_that_speaks_for_itself_late_is_the_one_that_was_seen(kept: Kept, server: Server) -> None:
    """What it has not in its queue has ended before it spoke."""
    seen, spoke = kept.life(1), kept.life(2)
    _queued(server, "a", "b")
    _look(kept, server, seen)
    _queued(server, "b")
    server.history = {"a": Ending(State.DONE)}
    assert not snapshot.join(kept.journal, server, seen, spoke, lambda: False)
    assert snapshot.join(kept.journal, server, seen, spoke, lambda: True)
    assert (kept.job("a").state, kept.job("b").life) == (State.DONE, spoke.id)


def test_a_job_without_an_end_is_taken_for_gone_only_if_it_was_seen_there(kept: Kept, server: Server) -> None:
    """One that was submitted, and has no answer, may still come; where it does not any more, it waits once more."""
    dead = kept.life(1)
    kept.accept(dead, "a")
    kept.settle(dead)
    life = kept.journal.begin_life(Process("boot", 2, 2.0), 0.0)
    assert kept.journal.submitting(kept.job("a"), life)
    _look(kept, server, life)
    assert (kept.job("a").life, kept.job("a").note) == (life.id, SUBMITTED)
    _look(kept, server, life, ends_doubt=True)
    assert (kept.job("a").life, kept.job("a").note) == (None, "")


def test_a_submission_that_is_seen_in_the_queue_is_in_doubt_no_more(kept: Kept, server: Server) -> None:
    life = kept.life(1)
    kept.accept(life, "a")
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET note = ?", (SUBMITTED,))
    _queued(server, "a")
    _look(kept, server, life)
    assert (kept.job("a").state, kept.job("a").note) == (State.QUEUED, "")


def test_what_nothing_has_changed_of_is_not_written(kept: Kept, server: Server) -> None:
    life = kept.life(1)
    _queued(server, "a", "b", running="a")
    _look(kept, server, life)
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET note = 'was old: this ComfyUI chooses its jobs'' ids'")
    before = [kept.job(each) for each in "ab"]
    _look(kept, server, life)
    assert [kept.job(each) for each in "ab"] == before


@pytest.mark.parametrize("state", [State.DONE, State.FAILED])
def test_what_ends_though_the_listener_has_asked_it_to_give_up_has_ended(
    kept: Kept, server: Server, state: State
) -> None:
    life = kept.life(1)
    kept.accept(life, "a", state=State.RUNNING)
    assert kept.journal.ask("a")
    server.history = {"a": Ending(state)}
    _look(kept, server, life)
    assert kept.job("a").state is state


def test_a_user_who_interrupts_after_the_listener_has_the_last_word(kept: Kept, server: Server) -> None:
    life = kept.life(1)
    kept.accept(life, "a", "b", "c", state=State.RUNNING)
    with kept.journal._transaction() as sql:
        for prompt_id, asked in zip("abc", ("user", "listener+", "obeyed"), strict=True):
            sql.execute("UPDATE jobs SET asked = ? WHERE prompt_id = ?", (asked, prompt_id))
    server.history = dict.fromkeys("abc", Ending(State.DELETED, "interrupted"))
    _look(kept, server, life)
    assert [(kept.job(each).state, kept.job(each).asked) for each in "abc"] == [
        (State.DELETED, "user"),
        (State.RUNNING, "obeyed"),
        (State.RUNNING, "obeyed"),
    ]


def test_what_failed_by_another_error_before_the_gpu_was_poisoned_has_failed(kept: Kept, server: Server) -> None:
    """They ended in their order, the one that ran first."""
    life = kept.life(1)
    kept.accept(life, "a", state=State.RUNNING, first=5.0)
    kept.accept(life, "b", "c")
    server.history = {"a": Ending(State.FAILED, "no"), "b": STICKY, "c": STICKY}
    _look(kept, server, life)
    assert [kept.job(each).state for each in "abc"] == [State.FAILED, State.RUNNING, State.QUEUED]
    assert [kept.job(each).note for each in "abc"] == ["no", STICKY.note, STICKY.note]


def test_what_is_in_a_queue_is_told_by_its_ids(kept: Kept, server: Server) -> None:
    """None stands for those without one; where it can't be read, the extension has written them down."""
    life = kept.life(1)
    _queued(server, "a")
    assert snapshot.here(kept.journal, server, life) == {"a"}
    server.strange = 1
    assert snapshot.here(kept.journal, server, life) == {"a", None}
    kept.accept(life, "b")
    server.unread = "is longer than 67 MB"
    assert snapshot.here(kept.journal, server, life) == {"b"}
    assert snapshot.here(kept.journal, server, replace(life, witness="listener")) is None
    server.unread, server.told = "", False
    assert snapshot.here(kept.journal, server, life) is None


def test_a_job_of_another_form_is_passed_over_and_hides_none(kept: Kept, server: Server) -> None:
    life = kept.life(1)
    server.items = {"odd": ["1", "odd", {}, {}, []], "a": [1.0, "a", {}, {}, []]}
    assert _look(kept, server, life)
    assert (kept.journal.job("odd"), kept.job("a").state) == (None, State.QUEUED)


def test_a_job_that_ran_and_waits_once_more_is_seen_to_wait(kept: Kept, server: Server) -> None:
    """Somebody has submitted it twice."""
    life = kept.life(1)
    kept.accept(life, "a", state=State.RUNNING)
    _queued(server, "a")
    _look(kept, server, life)
    assert kept.job("a").state is State.QUEUED


def test_what_ended_after_one_whose_end_can_not_be_told_is_not_judged(
    kept: Kept, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one may have poisoned the GPU."""
    life = kept.life(1)
    kept.accept(life, "a", "b", state=State.RUNNING)
    monkeypatch.setattr(server, "ended", lambda prompt_id, _: None if prompt_id == "a" else Ending(State.FAILED, "no"))
    assert _look(kept, server, life)
    assert [kept.job(each).state for each in "ab"] == [State.RUNNING, State.RUNNING]


def test_a_job_with_another_note_that_has_gone_was_deleted(kept: Kept, server: Server) -> None:
    life = kept.life(1)
    kept.accept(life, "a")
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET note = 'was old: this ComfyUI chooses its jobs'' ids'")
    _look(kept, server, life)
    assert (kept.job("a").state, kept.job("a").note) == (State.DELETED, snapshot.GONE)


def test_a_submission_that_a_life_does_not_know_when_it_speaks_has_not_come(kept: Kept, server: Server) -> None:
    seen, spoke = kept.life(1), kept.life(2)
    kept.accept(seen, "a")
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET note = ?", (SUBMITTED,))
    assert snapshot.join(kept.journal, server, seen, spoke, lambda: True)
    assert (kept.job("a").life, kept.job("a").note) == (None, "")
