"""What is kept from outside, by looks at the queue."""

from __future__ import annotations

from comfy_supervisor.jobs import snapshot
from comfy_supervisor.jobs.comfy import Comfy, Ending
from comfy_supervisor.jobs.job import Life, State

from .conftest import Kept, Server

STICKY = Ending(State.FAILED, "CUDA error: unspecified launch failure")


def _look(kept: Kept, server: Server, life: Life, goes_on: bool = True) -> bool:
    comfy: Comfy = server  # type: ignore[assignment]
    return snapshot.follow(kept.journal, comfy, life, lambda: goes_on)


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


def test_of_poisoned_jobs_the_first_ran_and_the_others_were_not_tried(kept: Kept, server: Server) -> None:
    life = kept.life(1)
    _queued(server, "a", "b", "c", running="a")
    _look(kept, server, life)
    _queued(server)
    server.history = dict.fromkeys("abc", STICKY)
    for _ in range(2):
        _look(kept, server, life)
        assert [kept.job(each).state for each in "abc"] == [State.RUNNING, State.QUEUED, State.QUEUED]


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
    comfy: Comfy = server  # type: ignore[assignment]
    assert not snapshot.join(kept.journal, comfy, seen, spoke, lambda: False)
    assert snapshot.join(kept.journal, comfy, seen, spoke, lambda: True)
    assert (kept.job("a").state, kept.job("b").life) == (State.DONE, spoke.id)
