"""What carries the jobs, on its own thread, with what the watch tells it of ComfyUI's process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from comfy_supervisor.jobs import porter, replay
from comfy_supervisor.jobs.comfy import Ending, Reply, Taken
from comfy_supervisor.jobs.job import SUBMITTED, Guilt, Job, Life, Process, State
from comfy_supervisor.jobs.journal import Journal
from tests.support import wait_until

from .conftest import CRASHED, ME, PROCESS, SEEN, Carried, Kept, Server, speaks


@pytest.fixture
def carried(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Carried]:
    monkeypatch.setattr(porter, "_TURN", 0.02)
    monkeypatch.setattr(porter, "_LATE", 0.5)
    one = Carried(tmp_path, server)
    one.porter.start()
    yield one
    one.porter.end()


def test_after_a_crash_the_suspect_is_charged_and_all_go_back(carried: Carried, kept: Kept, server: Server) -> None:
    dead = kept.life(1)
    kept.accept(dead, "ran", state=State.RUNNING)
    kept.accept(dead, "b", "c")
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE lives SET boot = ?", (ME.boot,))
    speaks(kept)
    carried.porter.see(SEEN)
    wait_until(lambda: server.submitted == ["b", "c"])
    server.items.clear()
    wait_until(lambda: server.submitted == ["b", "c", "ran"])
    wait_until(lambda: kept.job("ran").life == 2)
    assert kept.job("ran").suspect == 1


def test_what_is_run_again_without_its_keys_is_counted(carried: Carried, kept: Kept, server: Server) -> None:
    dead = kept.life(1)
    kept.accept(dead, "a")
    for each in ("b", "c"):
        kept.journal.accept((9.0, each, {}, {"api_key_comfy_org": "SESAME"}, []), dead, State.QUEUED)
    speaks(kept)
    carried.porter.see(SEEN)
    wait_until(lambda: server.submitted == ["a", "b", "c"])
    said = "2 of them without the API keys that came with them, which are not kept: nodes that need one will fail"
    assert [line for line in carried.said if "API keys" in line] == [said]


def test_it_waits_to_be_told_how_the_life_before_ended(carried: Carried, kept: Kept, server: Server) -> None:
    dead = kept.life(1)
    kept.accept(dead, "a", state=State.RUNNING)
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE lives SET boot = ?", (ME.boot,))
    speaks(kept)
    carried.endings[1] = None
    carried.porter.see(SEEN)
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: kept.job("a").life is None, 0.5)
    carried.endings[1] = "stopped: exit status 0"
    wait_until(lambda: server.submitted == ["a"])
    assert (kept.job("a").suspect, kept.job("a").victim) == (0, 0)


def test_each_life_is_judged_by_its_own_end(carried: Carried, kept: Kept, server: Server) -> None:
    """Whatever befell those after it: a start that failed, or that somebody broke off."""
    for pid, prompt_id in ((1, "a"), (2, "b"), (3, "c")):
        kept.accept(kept.life(pid), prompt_id, state=State.RUNNING)
    kept.life(4)
    _of_this_boot(kept)
    carried.endings = {
        1: CRASHED,
        2: "exited: terminated by SIGKILL; not expected",
        3: "stopped: exit status 0",
        4: "exited: exit status 1; not expected",
    }
    speaks(kept)
    carried.porter.see(SEEN)
    wait_until(lambda: {kept.job(each).life for each in "bc"} == {5})
    charges = {each: (kept.job(each).suspect, kept.job(each).victim) for each in "abc"}
    assert charges == {"a": (1, 0), "b": (0, 1), "c": (0, 0)}


def test_what_is_known_of_an_end_is_written_down_at_once(carried: Carried, kept: Kept, server: Server) -> None:
    """By the time that a life answers, supervisord's log may have gone on so far that it tells nothing of it."""
    kept.accept(kept.life(1), "a", state=State.RUNNING)
    kept.life(2)
    _of_this_boot(kept)
    carried.porter.ended(Process(ME.boot, 1, 1.0))
    wait_until(lambda: _guilts(kept) == [Guilt.SUSPECT, None])
    carried.endings[1] = ""
    speaks(kept)
    carried.porter.see(SEEN)
    wait_until(lambda: kept.job("a").suspect == 1)


def test_an_end_that_the_listener_brought_about_is_not_judged_anew(carried: Carried, kept: Kept) -> None:
    process = Process(ME.boot, 1, 1.0)
    kept.life(1)
    _of_this_boot(kept)
    carried.porter.blame(process, "recycled")
    carried.porter.ended(process)
    carried.porter.ask("none")
    assert _guilts(kept) == [Guilt.INNOCENT]


def _of_this_boot(kept: Kept) -> None:
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE lives SET boot = ?", (ME.boot,))


def _guilts(kept: Kept) -> list[Guilt | None]:
    with kept.journal._transaction() as sql:
        found = sql.execute("SELECT guilt FROM lives ORDER BY id").fetchall()
    return [Guilt(guilt) if guilt else None for (guilt,) in found]


def test_a_machines_reboot_is_no_jobs_doing(carried: Carried, kept: Kept, server: Server) -> None:
    kept.accept(kept.life(1), "a", state=State.RUNNING)
    speaks(kept)
    carried.porter.see(SEEN)
    wait_until(lambda: server.submitted == ["a"])
    assert (kept.job("a").suspect, kept.job("a").victim) == (0, 1)


def test_a_new_start_in_the_same_process_is_another_life(carried: Carried, kept: Kept, server: Server) -> None:
    speaks(kept)
    kept.accept(cast("Life", kept.journal.newest_life()), "a", state=State.RUNNING)
    speaks(kept)
    carried.porter.see(SEEN)
    wait_until(lambda: server.submitted == ["a"])
    assert (kept.job("a").suspect, kept.job("a").victim) == (0, 0)


def test_blame_and_questions_are_written_before_they_are_acted_upon(carried: Carried, kept: Kept) -> None:
    speaks(kept)
    life = cast("Life", kept.journal.newest_life())
    kept.accept(life, "a", state=State.RUNNING)
    assert carried.porter.ask("a")
    assert kept.job("a").asked == "listener+"
    assert not carried.porter.ask("unknown")
    carried.porter.blame(PROCESS, "recycled")
    assert cast("Life", kept.journal.newest_life()).guilt is Guilt.INNOCENT


def test_whatever_sets_a_job_aside_is_told(
    carried: Carried, kept: Kept, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two deaths that it is suspected of, a refusal that lasts, and a second stall that it gave up in."""
    monkeypatch.setattr(replay, "PATIENCE", 0.0)
    kept.accept(kept.life(1), "ran", state=State.RUNNING)
    kept.accept(kept.life(2), "refused", "stalled")
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET suspect = 1 WHERE prompt_id IN ('ran', 'stalled')")
        sql.execute("UPDATE lives SET boot = ?, guilt = 'suspect'", (ME.boot,))
    server.replies = [Reply(Taken.NO, "no such node")]
    speaks(kept)
    carried.porter.see(SEEN)
    wait_until(lambda: kept.job("stalled").life == 3)
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET state = 'running', asked = 'obeyed' WHERE prompt_id = 'stalled'")
    wait_until(lambda: kept.job("stalled").state is State.QUARANTINED)
    wait_until(lambda: {"ran", "refused", "stalled"} == {job.prompt_id for _, job in carried.told if _is_aside(job)})
    assert not any(_is_aside(before) for before, _ in carried.told)


def _is_aside(job: Job) -> bool:
    return job.state is State.QUARANTINED


def test_a_question_that_came_too_late_is_never_written(
    carried: Carried, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked has heard no, and interrupts nobody: a user's own interruption must then count as one."""
    monkeypatch.setattr(porter, "PATIENCE", 0.05)
    speaks(kept)
    kept.accept(cast("Life", kept.journal.newest_life()), "a", state=State.RUNNING)
    goes_on, over = threading.Event(), threading.Event()

    def takes_long() -> None:
        goes_on.wait(60)

    carried.porter._orders.put(takes_long)
    assert not carried.porter.ask("a")
    goes_on.set()
    carried.porter._orders.put(over.set)
    assert over.wait(60)
    assert kept.job("a").asked == ""


def test_without_the_extension_its_queue_is_looked_at(carried: Carried, kept: Kept, server: Server) -> None:
    """When the extension speaks at last, what was seen until then is its own."""
    server.items = {"a": [0.0, "a", {}, {}, []]}
    carried.porter.see(SEEN)
    wait_until(lambda: kept.journal.job("a"))
    (said,) = [line for line in carried.said if "without our extension" in line]
    assert "5.02 s apart, or 20 times as long as it takes to be read" in said, "how much may be lost"
    assert server.submitted == []
    seen = kept.job("a").life
    speaks(kept)
    wait_until(lambda: kept.job("a").life != seen)
    assert (kept.job("a").state, server.submitted) == (State.QUEUED, [])


def test_a_life_that_the_extension_leaves_is_followed_from_outside(
    carried: Carried, kept: Kept, server: Server
) -> None:
    """With what it had written until then; and what is put back there is marked before it is."""
    speaks(kept)
    kept.accept(cast("Life", kept.journal.newest_life()), "a", "b")
    server.items = {"b": [1.0, "b", {}, {}, []], "c": [2.0, "c", {}, {}, []]}
    server.history = {"a": Ending(State.DONE)}
    carried.porter.see(SEEN)
    wait_until(lambda: carried.porter._replay)
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE lives SET witness = 'listener'")
    wait_until(lambda: kept.journal.job("c"))
    wait_until(lambda: kept.job("a").state is State.DONE)
    assert [kept.job(each).state for each in "bc"] == [State.QUEUED, State.QUEUED]
    server.replies = [Reply(Taken.UNKNOWN)]
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE jobs SET state = 'queued', life = NULL WHERE prompt_id = 'b'")
    del server.items["b"]
    server.history["a"] = Ending(None)
    carried.porter.see(replace(SEEN, work="moved"))
    wait_until(lambda: server.submitted == ["b"])
    assert kept.job("b").note == SUBMITTED
    said = [line for line in carried.said if line.startswith("our extension does not know the form")]
    assert len(said) == 1


def test_a_look_without_an_answer_is_none(carried: Carried, kept: Kept, server: Server) -> None:
    """What came before it, and does not move any more, would else be unseen for half a minute."""
    server.items, server.told = {"a": [0.0, "a", {}, {}, []]}, False
    carried.porter.see(SEEN)
    wait_until(lambda: "queue" in server.asked)
    server.told = True
    wait_until(lambda: kept.journal.job("a"), porter._UNCHANGED / 3)


@pytest.mark.parametrize(("took", "is_soon"), [(0.0, True), (100.0, False)])
def test_comfyui_is_spared_looks_that_take_it_long_and_not_for_a_slow_disk(
    carried: Carried, kept: Kept, server: Server, took: float, is_soon: bool
) -> None:
    journal, server.took = carried.porter._journal, took
    begin_life = journal.begin_life

    def slowly(process: Process, now: float) -> Life:
        time.sleep(0.5)
        return begin_life(process, now)

    journal.begin_life = slowly  # type: ignore[method-assign]
    carried.porter.see(SEEN)
    wait_until(lambda: "queue" in server.asked)
    server.items = {"a": [0.0, "a", {}, {}, []]}
    carried.porter.see(replace(SEEN, work="moved"))
    with nullcontext() if is_soon else pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: kept.journal.job("a"), 0.5 / porter._SHARE / 2 if is_soon else 0.5)


@pytest.mark.parametrize("witness", ["extension", "listener"])
def test_a_new_listener_tells_lives_in_one_process_apart(
    carried: Carried, kept: Kept, server: Server, witness: str
) -> None:
    """The second may be without the extension, an update having changed what that hooks into."""
    image = int(ME.token.rpartition("/")[2])
    speaks(kept)
    life = cast("Life", kept.journal.newest_life())
    kept.accept(life, "a")
    with kept.journal._transaction() as sql:
        sql.execute("UPDATE lives SET witness = ?, token = ? WHERE id = ?", (witness, f"random/{image + 1}", life.id))
    carried.porter.see(replace(SEEN, process=replace(PROCESS, image=image)))
    wait_until(lambda: server.submitted == ["a"])
    assert kept.job("a").life == life.id + 1


def test_a_queue_that_can_not_be_read_is_told_of(carried: Carried, server: Server) -> None:
    """While that lasts nothing is followed, and what comes is lost with ComfyUI."""
    server.unread = "has a form that is not known here"
    carried.porter.see(SEEN)
    wait_until(lambda: carried.alarms)
    told = "/queue has a form that is not known here: jobs are neither followed nor put back until that ends"
    assert carried.alarms == [told]
    assert told in carried.said


def test_jobs_that_can_not_be_followed_are_counted_once_and_the_others_are_followed(
    carried: Carried, kept: Kept, server: Server
) -> None:
    server.items, server.strange = {"a": [0.0, "a", {}, {}, []], "odd": ["1", "odd", {}, {}, []]}, 2
    carried.porter.see(SEEN)
    wait_until(lambda: kept.journal.job("a"))
    carried.porter.see(replace(SEEN, work="moved"))
    server.items["b"] = [1.0, "b", {}, {}, []]
    wait_until(lambda: kept.journal.job("b"))
    assert kept.journal.job("odd") is None
    told = "2 of the jobs in /queue have a form that is not known here, and die with ComfyUI"
    assert [line for line in carried.said if "/queue" in line] == [told]
    assert not carried.alarms


def test_a_damaged_journal_is_set_aside_and_it_goes_on(carried: Carried, kept: Kept, server: Server) -> None:
    kept.life(1)
    kept.journal.close()
    file = Path(kept.journal.file)
    for each in file.parent.glob("journal.sqlite*"):
        each.unlink()
    file.write_bytes(os.urandom(20_000))
    server.items = {"a": [0.0, "a", {}, {}, []]}
    carried.porter.see(SEEN)
    wait_until(lambda: any("set aside as" in line for line in carried.said))
    assert len(carried.alarms) == 1, "somebody is told"
    again = Journal(file.parent)
    wait_until(lambda: again.job("a"))
    again.close()


def test_a_life_in_a_new_journal_is_not_taken_for_one_of_the_old(
    carried: Carried, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new journal counts its lives from one again, and begins before the new image has been seen."""
    executes = {111}
    monkeypatch.setattr(porter, "goes_on", lambda process: process.image in executes)
    kept.settle(kept.life(7))  # one before, so that the new journal's first number is lower
    speaks(kept)
    carried.porter.see(replace(SEEN, process=replace(PROCESS, image=111)))
    wait_until(lambda: carried.porter._replay)
    before = carried.porter._replay
    executes.clear()
    kept.journal.put_aside()
    speaks(kept)
    time.sleep(0.1)  # a few turns, in which the old sighting must not be taken for the new life's
    executes.add(222)
    carried.porter.see(replace(SEEN, process=replace(PROCESS, image=222)))
    wait_until(lambda: carried.porter._replay is not before)
    assert not any("without our extension" in line for line in carried.said)


def test_a_journal_that_cannot_be_set_aside_does_not_end_it(
    carried: Carried, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("comfy_supervisor.extension.comfy_supervisor_bridge.store.set_aside", refuses)
    file = Path(kept.journal.file)
    file.write_bytes(os.urandom(20_000))
    carried.porter.see(SEEN)
    wait_until(lambda: any("can't be set aside" in line for line in carried.said))
    wait_until(lambda: carried.alarms)
    assert "jobs are not kept meanwhile" in carried.alarms[0]
    file.unlink()
    speaks(kept)
    carried.porter.blame(PROCESS, "recycled")
    wait_until(lambda: cast("Life", kept.journal.newest_life()).cause == "recycled")
