"""Jobs go back into ComfyUI's queue: looked for first, once, in order, and suspects alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from comfy_supervisor.jobs import replay
from comfy_supervisor.jobs.comfy import Ending, Reply, Taken, _ending
from comfy_supervisor.jobs.job import Guilt, Job, Process, State
from comfy_supervisor.jobs.replay import DOUBT, PATIENCE, RARELY, REFUSED, TRIES, Replay

from .conftest import Kept, Server

LOST = Reply(Taken.UNKNOWN, "HTTP 500")


@pytest.fixture
def begun(kept: Kept, server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Replay]:
    """Begin a replay of some jobs that a dead life has left behind."""
    monkeypatch.setattr(replay, "time", SimpleNamespace(monotonic=lambda: 0.0))

    def begin(*prompt_ids: str, goes_on: Callable[[], bool] = lambda: True) -> Replay:
        dead = kept.life(1)
        kept.accept(dead, *prompt_ids)
        kept.settle(dead)
        return Replay(kept.journal, server, kept.life(2), lambda *_: None, lambda _: None, goes_on)

    return begin


def test_all_go_back_in_their_order(kept: Kept, server: Server, begun: Callable[..., Replay]) -> None:
    assert begun("a", "b", "c").turn(10.0)
    assert server.submitted == ["a", "b", "c"]
    assert {kept.job(each).life for each in "abc"} == {2}
    assert [number for number, *_ in server.items.values()] == sorted(number for number, *_ in server.items.values())


def test_what_is_there_or_has_ended_is_not_submitted(kept: Kept, server: Server, begun: Callable[..., Replay]) -> None:
    server.items = {"a": [0.0, "a", {}, {}, []]}
    server.history = {"b": Ending(State.FAILED, "no")}
    assert begun("a", "b", "c").turn(10.0)
    assert server.submitted == ["c"]
    assert [kept.job(each).state for each in "abc"] == [State.QUEUED, State.FAILED, State.QUEUED]
    assert kept.job("b").note == "no"


def test_nothing_is_submitted_blindly(kept: Kept, server: Server, begun: Callable[..., Replay]) -> None:
    turns = begun("a")
    server.told = False
    assert not turns.turn(10.0)
    server.told = True
    server.at_asked = lambda: setattr(server, "told", False)  # it falls silent between the two looks
    assert not turns.turn(10.0)
    assert server.submitted == []
    assert kept.waiting() == ["a"]


def test_what_is_refused_is_tried_again_and_the_others_go_on(
    kept: Kept, server: Server, begun: Callable[..., Replay]
) -> None:
    """A share with models may be mounted a while after ComfyUI has begun."""
    turns, said = begun("a", "b", "c"), list[str]()
    turns.say = said.append
    server.refuses = {"a": "no such model", "c": "no such model"}
    assert not turns.turn(10.0)
    assert not turns.turn(10.0 + REFUSED - 1.0), "not at each turn"
    assert server.submitted == ["a", "b", "c"]
    assert (kept.job("a").state, kept.job("a").note) == (State.QUEUED, "ComfyUI refuses it now: no such model")
    assert [kept.job(each).life for each in "abc"] == [None, 2, None]
    assert said == ["job a: ComfyUI refuses it now: no such model; such jobs are tried again for 10 minutes"]
    server.refuses = {}
    assert turns.turn(10.0 + REFUSED)
    assert server.submitted == ["a", "b", "c", "a", "c"]
    assert (kept.job("a").life, kept.job("a").note) == (2, "")


def test_what_is_refused_for_long_is_set_aside(kept: Kept, server: Server, begun: Callable[..., Replay]) -> None:
    """And with an operator's word, it is given as much time again."""
    turns = begun("a", "b")
    server.refuses = {"a": "no such node"}
    for tries in range(int(PATIENCE / REFUSED)):
        assert not turns.turn(10.0 + tries * REFUSED)
    assert turns.turn(10.0 + PATIENCE)
    assert (kept.job("a").state, kept.job("a").note) == (State.QUARANTINED, "ComfyUI refuses it now: no such node")
    assert kept.job("b").life == 2
    kept.journal.retry(kept.job("a"))
    assert not turns.turn(20.0 + PATIENCE)
    assert kept.job("a").state is State.QUEUED


def test_no_suspect_overtakes_what_is_refused_for_now(kept: Kept, server: Server, begun: Callable[..., Replay]) -> None:
    """It would not be alone once that is taken."""
    turns = begun("a")
    life = kept.life(3)
    kept.accept(life, "x", state=State.RUNNING)
    kept.settle(life, Guilt.SUSPECT)
    server.refuses = {"a": "no such model"}
    for now in (10.0, 20.0, 10.0 + REFUSED):
        assert not turns.turn(now)
    assert server.submitted == ["a", "a"]
    server.refuses = {}
    assert not turns.turn(10.0 + 2 * REFUSED)
    assert server.submitted == ["a", "a", "a"]


@pytest.mark.parametrize("came", [True, False])
def test_a_queue_too_long_to_be_read_holds_up_no_replay_with_the_extension(
    kept: Kept, server: Server, begun: Callable[..., Replay], came: bool
) -> None:
    """It has written down what is there; a suspect is still alone."""
    turns = begun("a", "b")
    life = kept.life(3)
    kept.accept(life, "x", state=State.RUNNING)
    kept.settle(life, Guilt.SUSPECT)
    server.is_long = True
    if came:
        kept.accept(turns.life, "a")
    assert not turns.turn(10.0)
    assert server.submitted == (["b"] if came else ["a", "b"])
    assert "ended b" in server.asked
    for each in "ab":
        _ended(kept, each)
    assert turns.turn(20.0)
    assert server.submitted[-1] == "x"


def test_a_queue_too_long_to_be_read_from_outside_is_waited_for(kept: Kept, server: Server) -> None:
    turns = outside(kept, server, "a")
    server.is_long = True
    assert not turns.turn(10.0)
    assert server.submitted == []


def test_one_in_doubt_is_looked_for_and_nothing_overtakes_it(
    kept: Kept, server: Server, begun: Callable[..., Replay]
) -> None:
    turns = begun("a", "b")
    server.replies = [LOST]
    assert not turns.turn(1.0)
    assert not turns.turn(DOUBT - 0.1), "it may still come to it"
    assert server.submitted == ["a"]
    server.items["a"] = [0.0, "a", {}, {}, []]
    assert turns.turn(DOUBT)
    assert server.submitted == ["a", "b"]


def test_one_that_stays_in_doubt_is_set_aside_after_a_last_look(
    kept: Kept, server: Server, begun: Callable[..., Replay]
) -> None:
    turns = begun("a", "b")
    server.replies = [LOST] * TRIES
    for turn in range(1, TRIES + 1):
        assert not turns.turn(10.0 * turn)
    assert kept.job("a").state is State.QUEUED
    assert turns.turn(1000.0)
    assert (kept.job("a").state, kept.job("b").life) == (State.QUARANTINED, 2)
    assert server.submitted == ["a"] * TRIES + ["b"]


def test_a_suspect_goes_last_and_alone(kept: Kept, server: Server, begun: Callable[..., Replay]) -> None:
    turns = begun("a")
    life = kept.life(3)
    kept.accept(life, "x", "y", state=State.RUNNING)
    kept.settle(life, Guilt.SUSPECT)
    assert not turns.turn(10.0)
    assert server.submitted == ["a"]
    server.items = {"users": [0.0, "users", {}, {}, []]}
    assert not turns.turn(20.0)
    server.items = {}
    _ended(kept, "a")
    assert not turns.turn(30.0)
    assert server.submitted == ["a", "x"]
    assert not turns.turn(40.0)
    server.items = {}
    _ended(kept, "x")
    assert turns.turn(50.0)
    assert server.submitted == ["a", "x", "y"]


def test_a_queue_that_only_suspects_wait_for_is_rarely_looked_at(
    kept: Kept, server: Server, begun: Callable[..., Replay]
) -> None:
    """It may be long, and the journal knows that it is not empty; should the journal be mistaken, that shows."""
    turns = begun("x")
    life = kept.life(3)
    kept.accept(life, "y", state=State.RUNNING)
    kept.settle(life, Guilt.SUSPECT)
    assert not turns.turn(10.0)
    server.asked.clear()
    for second in range(11, 11 + int(RARELY)):
        assert not turns.turn(float(second))
    assert server.asked == ["queue"]
    server.items = {}
    assert turns.turn(11 + 2 * RARELY)
    assert server.submitted == ["x", "y"]


def test_what_an_operator_drops_in_the_midst_is_neither_submitted_nor_set_aside(
    kept: Kept, server: Server, begun: Callable[..., Replay]
) -> None:
    turns, aside = begun("a", "b"), list[Job]()
    turns.aside = lambda job, _: aside.append(job)
    dropped: list[bool] = []
    server.at_asked = lambda: dropped.append(kept.journal.drop(kept.job("b")))
    assert turns.turn(10.0)
    assert (server.submitted, kept.job("b").state, aside) == (["a"], State.DELETED, [])
    assert dropped


def _ended(kept: Kept, prompt_id: str) -> None:
    """Write down, as the extension does, that a job is done."""
    kept.journal.moved(kept.job(prompt_id), State.DONE)


def outside(kept: Kept, server: Server, *prompt_ids: str, guilt: Guilt = Guilt.VICTIM) -> Replay:
    """Begin a replay into a life that does not speak for itself."""
    dead = kept.life(1)
    kept.accept(dead, *prompt_ids, state=State.RUNNING)
    kept.settle(dead, guilt)
    pid = dead.id + 1
    life = kept.journal.begin_life(Process("boot", pid, float(pid)), time.time())
    return Replay(kept.journal, server, life, lambda *_: None, lambda _: None, lambda: True)


def test_from_outside_a_suspect_is_alone_once_the_one_before_is_known_to_have_ended(kept: Kept, server: Server) -> None:
    """It might else be taken for the one that ran, should ComfyUI die of the next."""
    turns = outside(kept, server, "a", "b", guilt=Guilt.SUSPECT)
    assert not turns.turn(10.0)
    server.items, server.told = {}, False
    assert not turns.turn(20.0)
    assert server.submitted == ["a"]
    server.told, server.history = True, {"a": Ending(State.DONE)}
    assert turns.turn(20.0 + RARELY)
    assert (kept.job("a").state, server.submitted) == (State.DONE, ["a", "b"])


def test_from_outside_a_submission_that_comfyui_dies_of_is_charged(kept: Kept, server: Server) -> None:
    turns = outside(kept, server, "a")
    for deaths in (1, 2):
        server.replies = [LOST]
        assert not turns.turn(10.0)
        kept.settle(turns.life, Guilt.SUSPECT)
        assert (kept.job("a").suspect, kept.job("a").note) == (deaths, "")
        turns = outside(kept, server)
    assert kept.job("a").state is State.QUARANTINED


@pytest.mark.parametrize("came", [True, False])
def test_from_outside_a_submission_without_an_answer_is_looked_for(kept: Kept, server: Server, came: bool) -> None:
    turns = outside(kept, server, "a")
    server.replies = [LOST]
    assert not turns.turn(10.0)
    if came:
        server.items["a"] = [0.0, "a", {}, {}, []]
    assert turns.turn(time.monotonic() + DOUBT)
    assert server.submitted == ["a"] * (1 if came else 2)
    assert (kept.job("a").life, kept.job("a").note) == (turns.life.id, "")


def test_from_outside_what_is_refused_waits_in_nobodys_queue(kept: Kept, server: Server) -> None:
    turns = outside(kept, server, "a")
    server.refuses = {"a": "no such model"}
    assert not turns.turn(10.0)
    assert (kept.job("a").state, kept.job("a").life) == (State.QUEUED, None)


def test_from_outside_what_is_dropped_just_before_its_submission_is_not_submitted(kept: Kept, server: Server) -> None:
    turns = outside(kept, server, "a", "b")
    body = kept.journal.body

    def dropped(seq: int) -> dict[str, object] | None:
        found = body(seq)
        if seq == kept.job("a").seq:
            kept.journal.drop(kept.job("a"))
        return found

    kept.journal.body = dropped  # type: ignore[method-assign]
    assert turns.turn(10.0)
    assert (server.submitted, kept.job("a").state) == (["b"], State.DELETED)


def test_it_ends_with_the_life(kept: Kept, server: Server, begun: Callable[..., Replay]) -> None:
    turns = begun("a", "b", "c", goes_on=lambda: not server.submitted)
    assert not turns.turn(10.0)
    assert server.submitted == ["a"]
    assert kept.waiting() == ["b", "c"]


def test_a_release_that_chooses_ids_itself_runs_it_under_another(
    kept: Kept, server: Server, begun: Callable[..., Replay]
) -> None:
    """And there are not two of it in the journal."""
    server.replies = [Reply(Taken.YES, prompt_id="new")]
    assert begun("old").turn(10.0)
    assert kept.journal.job("old") is None
    assert kept.job("new").note == "was old: this ComfyUI chooses its jobs' ids"
    assert kept.journal.tally().queued == 1


def test_one_that_gave_up_before_has_not_ended(kept: Kept) -> None:
    """It is in the history of the same life, at its former place."""
    interrupted = {"prompt": [1.0, "a"], "status": {"messages": [["execution_interrupted", {}]]}}
    assert _ending(interrupted, 1.0) == Ending(State.DELETED, "interrupted")
    assert _ending(interrupted, 2.0) == Ending(None)
    assert _ending({"prompt": [1.0, "a"], "status": {"status_str": "success"}}, 2.0) == Ending(State.DONE)
