"""Jobs go back into ComfyUI's queue: looked for first, once, in order, and suspects alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from comfy_supervisor.jobs import replay as replaying
from comfy_supervisor.jobs import snapshot
from comfy_supervisor.jobs.comfy import Ending, Reply, Taken, _ending
from comfy_supervisor.jobs.job import SUBMITTED, Guilt, Job, Life, Process, State
from comfy_supervisor.jobs.replay import Replay

from .conftest import Kept, Server

LOST = Reply(Taken.UNKNOWN, "HTTP 500")
DOUBT, REFUSED, PATIENCE = 2.0, 30.0, 600.0
"""Seconds that are waited after a submission without an answer, between two tries of what is refused, and for these."""


@pytest.fixture
def begun(kept: Kept, server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Replay]:
    """Begin a replay of some jobs that a dead life has left behind."""
    monkeypatch.setattr(replaying, "time", SimpleNamespace(monotonic=lambda: 0.0))

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


def test_what_a_ruined_gpu_failed_has_not_ended(kept: Kept, server: Server) -> None:
    """Of a submission without an answer: which of them did it, and was tried, is seen where the queue is followed."""
    turns = outside(kept, server, "a", "b")
    server.history = dict.fromkeys("ab", Ending(State.FAILED, "CUDA error: an illegal memory access was encountered"))
    assert turns.turn(10.0)
    assert server.submitted == []
    assert [kept.job(each).state for each in "ab"] == [State.QUEUED, State.QUEUED]
    assert snapshot.follow(kept.journal, server, turns.life, lambda: True)
    assert [kept.job(each).state for each in "ab"] == [State.RUNNING, State.QUEUED]
    assert {kept.job(each).life for each in "ab"} == {turns.life.id}


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
    assert not turns.turn(10.0 + REFUSED - 0.5), "not at each turn"
    assert server.submitted == ["a", "b", "c"]
    assert (kept.job("a").state, kept.job("a").note) == (State.QUEUED, "ComfyUI refuses it now: no such model")
    assert [kept.job(each).life for each in "abc"] == [None, 2, None]
    assert said == ["job a: ComfyUI refuses it now: no such model; such jobs are tried again for 10 minutes"]
    assert not turns.turn(10.0 + REFUSED)
    assert server.submitted == ["a", "b", "c", "a", "c"]
    server.refuses = {}
    assert not turns.turn(10.0 + 2 * REFUSED - 0.5), "nor later on"
    assert turns.turn(10.0 + 3 * REFUSED)
    assert server.submitted == ["a", "b", "c", "a", "c", "a", "c"]
    assert (kept.job("a").life, kept.job("a").note) == (2, "")


def test_what_comes_while_another_is_refused_leaves_that_to_be_done(
    kept: Kept, server: Server, begun: Callable[..., Replay]
) -> None:
    turns = begun("a")
    server.refuses = {"a": "no such model"}
    assert not turns.turn(10.0)
    life = kept.life(3)
    kept.accept(life, "b")
    kept.settle(life)
    assert not turns.turn(20.0)
    assert server.submitted == ["a", "b"]


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_what_is_refused_for_long_is_set_aside(
    kept: Kept, server: Server, begun: Callable[..., Replay], late: float
) -> None:
    """And with an operator's word, it is given as much time again."""
    turns = begun("a", "b")
    server.refuses = {"a": "no such node"}
    for tries in range(int(PATIENCE / REFUSED)):
        assert not turns.turn(10.0 + tries * REFUSED)
    assert turns.turn(10.0 + PATIENCE + late)
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
    server.unread = "is longer than 67 MB"
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
    server.unread = "is longer than 67 MB"
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
    server.replies = [LOST] * 3
    for turn in range(1, 4):
        assert not turns.turn(10.0 * turn)
    assert kept.job("a").state is State.QUEUED
    assert turns.turn(1000.0)
    assert (kept.job("a").state, kept.job("b").life) == (State.QUARANTINED, 2)
    assert kept.job("a").note == "it could not be submitted in 3 tries"
    assert server.submitted == ["a"] * 3 + ["b"]
    assert kept.journal.retry(kept.job("a")), "an operator has it tried again"
    assert turns.turn(1010.0)
    assert server.submitted == ["a"] * 3 + ["b", "a"]


def test_one_whose_end_can_not_be_told_is_asked_for_rarely_and_the_others_go_on(
    kept: Kept, server: Server, begun: Callable[..., Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its history may be too long to be read: that says nothing of the job, which is charged with nothing."""
    turns, ended, silent = begun("a", "b"), server.ended, {"a"}
    monkeypatch.setattr(server, "ended", lambda each, number: None if each in silent else ended(each, number))
    assert not any(turns.turn(10.0 * turn) for turn in (1, 2))
    assert server.submitted == [], "soon it is asked for once more, and keeps its place"
    assert not turns.turn(30.0)
    assert server.submitted == ["b"]
    asked = len(server.asked)
    assert not turns.turn(20.0 + REFUSED - 1.0)
    assert len(server.asked) == asked
    assert (kept.job("a").state, kept.waiting()) == (State.QUEUED, ["a"])
    assert kept.job("a").note == "ComfyUI's history does not tell whether it has ended"
    for turn in range(1, 20):
        assert not turns.turn(20.0 + REFUSED * turn)
    silent.clear()
    assert turns.turn(20.0 + REFUSED * 20)
    assert server.submitted == ["b", "a"]


def test_one_whose_end_can_not_be_told_for_long_is_set_aside(
    kept: Kept, server: Server, begun: Callable[..., Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To submit it might be to do it twice; an operator has it looked for anew."""
    turns = begun("a")
    monkeypatch.setattr(server, "ended", lambda *_: None)
    assert not any(turns.turn(now) for now in (10.0, 20.0, 20.0 + PATIENCE - 1.0))
    assert kept.waiting() == ["a"]
    assert not turns.turn(20.0 + PATIENCE + REFUSED)
    assert (kept.job("a").state, kept.job("a").suspect, kept.job("a").victim) == (State.QUARANTINED, 0, 0)
    assert kept.journal.retry(kept.job("a"))
    assert not turns.turn(20.0 + PATIENCE + 2 * REFUSED)
    assert (kept.waiting(), turns.refused) == (["a"], {})


def test_a_job_without_an_id_is_company_for_a_suspect(kept: Kept, server: Server, begun: Callable[..., Replay]) -> None:
    turns = begun()
    dead = kept.life(3)
    kept.accept(dead, "x", state=State.RUNNING)
    kept.settle(dead, Guilt.SUSPECT)
    server.strange = 1
    assert not turns.turn(10.0)
    assert server.submitted == []
    server.strange = 0
    assert turns.turn(20.0)
    assert server.submitted == ["x"]


@pytest.fixture
def suspected(kept: Kept, server: Server, begun: Callable[..., Replay]) -> Replay:
    """Begin a replay of ``a``, and then of the suspect ``x``."""
    turns = begun("a")
    life = kept.life(3)
    kept.accept(life, "x", state=State.RUNNING)
    kept.settle(life, Guilt.SUSPECT)
    return turns


def _has_ended(kept: Kept, server: Server, turns: Replay) -> None:
    server.history = {"a": Ending(State.DONE)}


def _is_lost(kept: Kept, server: Server, turns: Replay) -> None:
    turns.lost["a"] = 3


def _is_not_kept(kept: Kept, server: Server, turns: Replay) -> None:
    seq = kept.job("a").seq
    with kept.journal._transaction() as sql:
        sql.execute("DELETE FROM bodies WHERE seq = ?", (seq,))


def _is_refused(kept: Kept, server: Server, turns: Replay) -> None:
    server.refuses = {"a": "no such model"}
    turns.refused["a"] = (10.0 - PATIENCE, 10.0 - REFUSED)


def _is_dropped(kept: Kept, server: Server, turns: Replay) -> None:
    """Just before its submission, seen from outside."""
    turns.life = replace(turns.life, witness="listener")
    submitting = kept.journal.submitting

    def drops(job: Job, life: Life) -> bool:
        if job.prompt_id == "a":
            kept.journal.drop(job)
        return submitting(job, life)

    kept.journal.submitting = drops  # type: ignore[method-assign]


@pytest.mark.parametrize("why", [_has_ended, _is_lost, _is_not_kept, _is_refused, _is_dropped])
def test_a_suspect_is_alone_when_the_one_before_does_not_come_into_the_queue(
    kept: Kept, server: Server, suspected: Replay, why: Callable[[Kept, Server, Replay], None]
) -> None:
    why(kept, server, suspected)
    assert suspected.turn(10.0)
    assert server.submitted[-1] == "x"
    assert kept.job("a").state not in (State.QUEUED, State.RUNNING)


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
    for second in range(11, 41):
        assert not turns.turn(float(second))
    assert server.asked == ["queue"]
    assert not turns.turn(41.0)
    assert server.asked == ["queue", "queue"]
    server.items = {}
    assert turns.turn(71.0)
    assert server.submitted == ["x", "y"]
    assert kept.job("x").state is State.QUEUED, "what the extension has written stands"


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
    assert turns.turn(50.0)
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


def test_from_outside_the_queue_is_looked_at_once_where_nothing_is_in_doubt(kept: Kept, server: Server) -> None:
    """It may be long."""
    assert outside(kept, server, "a").turn(10.0)
    assert server.asked == ["queue", "ended a", "submit a"]


@pytest.mark.parametrize("came", [True, False])
def test_from_outside_what_an_earlier_listener_has_submitted_may_come_late(
    kept: Kept, server: Server, came: bool
) -> None:
    """It was killed before it had an answer, and ComfyUI's event loop may have been busy ever since."""
    life = outside(kept, server, "a").life
    assert kept.journal.submitting(kept.job("a"), life)
    turns = Replay(kept.journal, server, life, lambda *_: None, lambda _: None, lambda: True)
    assert snapshot.follow(kept.journal, server, life, lambda: True)
    assert not turns.turn(10.0)
    assert snapshot.follow(kept.journal, server, life, lambda: True)
    assert kept.job("a").note == SUBMITTED, "that it is not there yet says nothing"
    if came:
        server.items["a"] = [0.0, "a", {}, {}, []]
    assert not turns.turn(10.0 + DOUBT - 0.1)
    assert server.submitted == []
    assert turns.turn(10.0 + DOUBT)
    assert server.submitted == ([] if came else ["a"])
    assert (kept.job("a").life, kept.job("a").note) == (life.id, "")


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


def test_once_the_extension_has_left_a_life_what_is_submitted_is_marked_before(
    kept: Kept, server: Server, begun: Callable[..., Replay]
) -> None:
    """It may have done so at the first of many: what is dropped or in doubt among the others is known to be."""
    turns, marks = begun("a", "b", "c"), list[str]()

    def leave(prompt_id: str) -> None:
        marks.append(kept.job(prompt_id).note)
        with kept.journal._transaction() as sql:
            sql.execute("UPDATE lives SET witness = 'listener' WHERE id = ?", (turns.life.id,))

    server.at_submitted = leave
    assert turns.turn(10.0)
    assert (server.submitted, marks) == (["a", "b", "c"], ["", SUBMITTED, SUBMITTED])
    assert {(kept.job(each).life, kept.job(each).note) for each in "abc"} == {(turns.life.id, "")}


def test_it_ends_with_the_life(kept: Kept, server: Server, begun: Callable[..., Replay]) -> None:
    turns = begun("a", "b", "c", goes_on=lambda: not server.submitted)
    assert not turns.turn(10.0)
    assert server.submitted == ["a"]
    assert kept.waiting() == ["b", "c"]


@pytest.mark.parametrize("new", ["new", "other"])
def test_a_release_that_chooses_ids_itself_runs_it_under_another(
    kept: Kept, server: Server, begun: Callable[..., Replay], new: str
) -> None:
    """And there are not two of it in the journal."""
    server.replies = [Reply(Taken.YES, prompt_id=new)]
    assert begun("old").turn(10.0)
    assert kept.journal.job("old") is None
    assert kept.job(new).note == "was old: this ComfyUI chooses its jobs' ids"
    assert kept.journal.tally().queued == 1


def test_one_that_gave_up_before_has_not_ended(kept: Kept) -> None:
    """It is in the history of the same life, at its former place."""
    interrupted = {"prompt": [1.0, "a"], "status": {"messages": [["execution_interrupted", {}]]}}
    assert _ending(interrupted, 1.0) == Ending(State.DELETED, "interrupted")
    assert _ending(interrupted, 2.0) == Ending(None)
    assert _ending({"prompt": [1.0, "a"], "status": {"status_str": "success"}}, 2.0) == Ending(State.DONE)
