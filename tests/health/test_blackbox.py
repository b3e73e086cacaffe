"""The black box, apart from a listener: what is written, and what a listener that is killed leaves to the next."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor.gpu.watch import Watch as GpuWatch
from comfy_supervisor.health.blackbox import BlackBox
from comfy_supervisor.health.intent import Intent
from comfy_supervisor.health.pending import FILE, Pending
from comfy_supervisor.health.policy.evidence import Deed, Ending, State, Verdict, Word
from comfy_supervisor.health.watched import Watched
from comfy_supervisor.incidents import store
from comfy_supervisor.incidents.compose import Case
from comfy_supervisor.incidents.incident import Incident, Kind
from comfy_supervisor.jobs import job as jobs
from tests.health.looks import LIFE, seen
from tests.support import wait_until

NEXT = replace(LIFE, pid=LIFE.pid + 1)
DEAD = jobs.Life(1, "", LIFE.boot, LIFE.pid, LIFE.started, "", "", None)
FATAL = """Fatal Python error: Segmentation fault

Thread 0x01 (most recent call first):
  File "/opt/ComfyUI/custom_nodes/crashing/node.py", line 3 in run
  File "/opt/ComfyUI/execution.py", line 1 in execute
"""


class Bench:
    """One instance's files, and a listener's box for it after another."""

    def __init__(self, folder: Path) -> None:
        """Make the folders."""
        state, run, log = (str(folder / name) for name in ("s/cpu", "r", "log"))
        self.watched = Watched("comfyui", "cpu", "http://127.0.0.1:1", 1, state, run, log)
        for name in ("s/cpu", "r"):
            (folder / name).mkdir(parents=True)
        self.log = folder / "log"
        self.log.write_text("got prompt\n")
        self.said: list[str] = []

    def box(self) -> BlackBox:
        """Return the next listener's."""
        return BlackBox(self.watched, GpuWatch(), self.said.append)

    @property
    def incidents(self) -> list[Incident]:
        """Return what is written, the newest first."""
        return list(store.every(Path(self.watched.state).parent / "incidents"))

    def wait_for(self, count: int = 1) -> list[Incident]:
        """Wait until so many are written, and return them."""
        wait_until(lambda: len(self.incidents) >= count, what=str(self.said))
        return self.incidents


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a place for incidents."""
    return Bench(tmp_path)


def crash(box: BlackBox, *, now: float = 100.0) -> None:
    """Have the end of a life noticed."""
    before, after = State(life=LIFE, past=1), State(life=NEXT, past=2, word=Word.STARTING)
    look = seen(life=NEXT, ending=Ending("exited: terminated by SIGSEGV; not expected"))
    box.notice(before, after, look, Verdict(Word.STARTING), now)


def job(name: str, state: jobs.State, **more: Any) -> jobs.Job:
    usual = {"seq": 1, "prompt_id": name, "number": 1.0, "state": state, "life": None, "secrets": "", "asked": ""}
    rest = {"waits": jobs.Waits.NOT, "suspect": 0, "victim": 0, "note": "", "accepted": 0.0, "changed": 0.0}
    return jobs.Job(**{**usual, **rest, **more})


def test_an_earlier_listeners_restart_keeps_its_cause_and_kind(bench: Bench) -> None:
    box = bench.box()
    box.take_over(
        Intent("restart", LIFE, LIFE.boot, 5.0, "asked", "listener", "it stood still", "stalled", "RESTARTING")
    )
    box.over(LIFE, "it stood still")
    (found,) = bench.wait_for()
    assert (found.kind, found.cause, found.reason, found.word) == (
        Kind.RESTART,
        "stalled",
        "it stood still",
        "RESTARTING",
    )
    assert "killed" in found.missing["stacks"]
    box.take_over(Intent("kill", NEXT, LIFE.boot, 6.0, cause="gpu_lost", hold="gpu_fault"))
    box.over(NEXT, "lost")
    assert bench.wait_for(2)[0].kind is Kind.GPU_FAULT


def test_what_an_earlier_listener_did_not_come_to_is_written_once(bench: Bench) -> None:
    case = Case(
        Kind.CRASH, "unknown", 1_790_000_000.0, "cpu", "comfyui", "it crashed", ending="exited: terminated by SIGSEGV"
    )
    case.boot, case.pid, case.started = LIFE.boot, LIFE.pid, LIFE.started
    Pending(bench.watched.state).add(case)
    bench.box().resume()
    (found,) = bench.wait_for()
    assert (found.kind, found.cause, found.at, found.pid) == (Kind.CRASH, "segfault", case.at, LIFE.pid)
    assert "listener was killed" in found.missing["stacks"]
    pending = Path(bench.watched.state, FILE)
    wait_until(lambda: not pending.exists())
    Pending(bench.watched.state).add(case)  # as by one that was killed between the page and the note
    bench.box().resume()
    wait_until(lambda: not pending.exists())
    assert len(bench.incidents) == 1


@pytest.mark.parametrize("content", ["", "{", '{"incidents": [{"kind": "odd"}]}', "[]", "\x00"])
def test_a_note_that_makes_no_sense_is_set_aside(bench: Bench, content: str) -> None:
    Path(bench.watched.state, FILE).write_text(content)
    bench.box().resume()
    crash(bench.box())
    bench.wait_for()


def test_pages_of_an_earlier_listener_hear_how_it_went_on(bench: Bench) -> None:
    """When it answered again, and what became of the jobs."""
    crash(bench.box())
    bench.wait_for()
    later = bench.box()
    lost, kept = job("a", jobs.State.RUNNING), job("b", jobs.State.QUEUED)
    rescued, aside = replace(kept, state=jobs.State.QUEUED), replace(lost, state=jobs.State.QUARANTINED, suspect=2)
    later.settled(DEAD, [(lost, aside), (kept, rescued)])
    later.notice(State(life=NEXT), State(life=NEXT, word=Word.IDLE), seen(life=NEXT), Verdict(Word.IDLE), 105.0)
    wait_until(lambda: bench.incidents[0].jobs.settled and bench.incidents[0].steps, what=str(bench.said))
    (found,) = bench.incidents
    assert [step.what for step in found.steps] == ["it answers again"]
    assert (found.jobs.rescued, found.jobs.charged, found.jobs.quarantined) == (("b",), ("a",), ("a",))
    page = store.page(Path(bench.watched.state).parent / "incidents", found.id)
    assert "- quarantined: 1: a" in page
    assert "- rescued (queued again): 1: b" in page


def test_what_waits_for_a_person_is_never_left_out(bench: Bench) -> None:
    """Of many crashes at once some are only counted; the one after which it was given up is not."""
    free = threading.Event()
    box = bench.box()

    def busy() -> None:
        free.wait(60)

    box._order(busy)
    for number in range(9):
        crash(box, now=100.0 + number)
    held = Verdict(Word.GAVE_UP, Deed.HOLD, "unknown", "5 deaths", LIFE, hold="gave_up")
    box.notice(State(life=LIFE, word=Word.GAVE_UP), State(life=LIFE, word=Word.GAVE_UP), seen(), held, 110.0)
    free.set()
    wait_until(lambda: any(one.kind is Kind.GAVE_UP for one in bench.incidents), what=str(bench.said))
    (given_up,) = (one for one in bench.incidents if one.kind is Kind.GAVE_UP)
    assert given_up.unrecorded >= 4


def test_the_log_after_the_event_and_faulthandlers_words_are_kept(bench: Bench) -> None:
    bench.log.write_text(f"got prompt\n{FATAL}2026-11-29 20:02:02 comfy-supervisor: leftovers are ended\n")
    crash(bench.box())
    (found,) = bench.wait_for()
    here = Path(bench.watched.state).parent / "incidents" / found.id
    assert (here / "stacks-faulthandler.txt").read_text() == FATAL
    assert (here / "log-after.txt").read_text().endswith("leftovers are ended\n")
    assert "Fatal" not in (here / "log-after.txt").read_text()
    assert (here / "log-before.txt").read_text() == f"got prompt\n{FATAL}"
    assert found.cause == "segfault"
    assert found.suspect
    assert (found.suspect.source, found.suspect.package) == ("faulthandler", "crashing")


def test_there_is_a_thread_only_while_something_is_written_down(bench: Bench) -> None:
    box = bench.box()

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "blackbox-cpu"]

    crash(box)
    bench.wait_for()
    wait_until(lambda: not threads(), what="its thread ends")
    box.settled(DEAD, [])
    wait_until(lambda: bench.incidents[0].jobs.settled, what="another thread does what comes later")
    wait_until(lambda: not threads(), what="and ends")
