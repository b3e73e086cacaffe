"""What people elsewhere are told of, and what not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor.health.alarms import Alarms, explained
from comfy_supervisor.health.policy.evidence import Deed, Ending, Life, Observation, Reply, State, Verdict, Word
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.incidents.incident import Incident
from comfy_supervisor.incidents.incident import Kind as IncidentKind
from comfy_supervisor.incidents.mask import Mask
from comfy_supervisor.incidents.store import Store
from comfy_supervisor.jobs.job import Job, Waits
from comfy_supervisor.jobs.job import State as JobState
from comfy_supervisor.notify.message import Event, compose

LIFE, NEXT = Life("boot", 7, 1.0), Life("boot", 8, 2.0)
SEEN = Observation("RUNNING", LIFE, reply=Reply.GOOD)
IDLE = State(Word.IDLE, life=LIFE)
WELL = Verdict(Word.IDLE, reason="works, and has no job")
JOB = Job(1, "abc", 0.0, JobState.RUNNING, 1, "", "", Waits.NOT, 0, 0, "", 0.0, 0.0)


class Heard:
    """One instance's alarms, and what was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.alarms = Alarms("comfyui:gpu0", "gpu0", Rules())
        self.alarms.tell = self.events.append

    def look(self, verdict: Verdict, wall: float = 0.0, seen: Observation = SEEN, before: State = IDLE) -> list[str]:
        """Look once; return the kinds told of."""
        told = len(self.events)
        self.alarms.look(before, State(verdict.word, life=seen.life), seen, verdict, wall)
        return [event.kind.value for event in self.events[told:]]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (Verdict(Word.RESTARTING, Deed.RESTART, "stalled", "it stood still", LIFE), "restart"),
        (Verdict(Word.RESTARTING, Deed.KILL, "process_stopped", "stopped", LIFE, hold="backoff"), "restart"),
        (Verdict(Word.GAVE_UP, Deed.RESTART, "stalled", "spent", LIFE, hold="gave_up", hold_seconds=900.0), "gave_up"),
        (
            Verdict(Word.GAVE_UP, Deed.RESTART, "cpu_fallback", "on the CPU", LIFE, hold="configuration"),
            "configuration",
        ),
        (Verdict(Word.GPU_FAULT, Deed.HOLD, "gpu_lost", "Xid 79", LIFE, hold="gpu_fault"), "gpu_fault"),
        (Verdict(Word.BLIND, Deed.ALERT, "unknown", "supervisord does not answer"), "blind"),
        (Verdict(Word.STOPPED, Deed.ALERT, "unknown", "supervisord gave up starting it (FATAL)"), "alert"),
        (Verdict(Word.RESTARTING, Deed.ALERT, "unknown", "it survives SIGKILL"), "alert"),
        (Verdict(Word.BUSY, Deed.ALERT, "stalled", "toils"), "alert"),
        (Verdict(Word.SUSPECT, Deed.ALERT, "port_in_use", "another program answers on its port"), "alert"),
    ],
)
def test_each_is_told_with_its_reason_and_what_to_do_next(verdict: Verdict, kind: str, heard: Heard) -> None:
    assert heard.look(verdict) == [kind]
    (event,) = heard.events
    assert (event.instance, event.why, event.cause) == ("comfyui:gpu0", verdict.reason, verdict.cause)
    assert event.done
    assert "{" not in event.then
    assert event.then


def test_recovery_is_told_once_and_only_after_trouble(heard: Heard) -> None:
    assert heard.look(WELL) == []
    heard.look(Verdict(Word.RESTARTING, Deed.RESTART, "stalled", "", LIFE), 100.0)
    assert heard.look(Verdict(Word.STARTING), 110.0, replace(SEEN, life=NEXT)) == []
    assert heard.look(WELL, 120.0) == ["recovery"]
    assert "20 s ago" in heard.events[-1].why
    assert heard.look(WELL, 130.0) == []


def test_an_alert_while_it_works_is_followed_by_no_recovery(heard: Heard) -> None:
    """Jobs that wait, or one that toils: it works all the while."""
    assert heard.look(Verdict(Word.BUSY, Deed.ALERT, "healthy", "3 jobs wait and none runs"), 1.0) == ["alert"]
    assert heard.look(WELL, 2.0) == []
    assert heard.look(Verdict(Word.SUSPECT, Deed.ALERT, "port_in_use", "another program"), 3.0) == ["alert"]
    assert heard.look(WELL, 5.0) == ["recovery"]


def test_a_start_that_supervisord_gave_up_may_be_recovered_from(heard: Heard) -> None:
    fatal = replace(SEEN, supervised="FATAL")
    heard.look(Verdict(Word.STOPPED, Deed.ALERT, "unknown", "gave up"), 1.0, fatal)
    assert heard.look(Verdict(Word.STOPPED), 2.0, fatal) == []
    assert heard.look(WELL, 3.0) == ["recovery"]


def test_of_a_crash_and_a_blindness_at_once_both_are_told(heard: Heard) -> None:
    seen = replace(SEEN, life=NEXT, ending=Ending("exited: terminated by SIGSEGV; not expected"))
    assert heard.look(Verdict(Word.BLIND, Deed.ALERT, "unknown", "all at once"), seen=seen) == ["restart", "blind"]


@pytest.mark.parametrize("word", [Word.STARTING, Word.SUSPECT])
def test_a_recovery_is_told_though_the_listener_was_changed_in_the_next_lifes_start(word: Word) -> None:
    """But not of a start that nothing went before."""
    for state, told in ((State(word, life=LIFE, row=1), ["recovery"]), (State(word, life=LIFE), [])):
        assert Heard().look(WELL, 9.0, before=state) == told


def test_an_alert_is_told_with_its_incident_and_the_cause_that_it_found(heard: Heard, tmp_path: Path) -> None:
    """The message waits for that, the watch doesn't."""
    heard.look(
        Verdict(Word.STARTING), seen=replace(SEEN, life=NEXT, ending=Ending("exited: exit status 1; not expected"))
    )
    (told,) = heard.events
    assert (told.cause, told.incident, explained(told, tmp_path)) == ("", "", None)
    crash = Incident(
        "20261129T100000Z-gpu0-missing_module", 5.0, "gpu0", "comfyui:gpu0", IncidentKind.CRASH, "missing_module"
    )
    kept = Store(tmp_path)
    kept.add(replace(crash, pid=LIFE.pid, boot=LIFE.boot, started=9.0), {}, Mask())
    assert explained(told, tmp_path) is None, "another process's"
    written = kept.add(replace(crash, pid=LIFE.pid, boot=LIFE.boot, started=LIFE.started), {}, Mask())
    found = explained(told, tmp_path)
    assert found
    assert (found.cause, found.incident) == ("missing_module", written.id)
    message = compose([found], "box")
    assert "(missing_module)" in message.subject
    assert f"incidents show {written.id}" in message.text
    assert "life" not in message.events[0]
    none = Alarms("comfyui", "cpu", Rules(), incidents=False)
    assert none._of(LIFE, told) is told


def test_the_next_listener_tells_of_a_recovery_that_the_last_one_waited_for(heard: Heard) -> None:
    before = State(Word.GAVE_UP, since=100.0, seen=160.0, life=LIFE)
    assert heard.look(WELL, 1000.0, before=before) == ["recovery"]
    assert "60 s ago" in heard.events[-1].why


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("exited: terminated by SIGSEGV; not expected", ["restart"]),
        ("stopped: exit status 0", []),
    ],
)
def test_a_crash_is_told_and_an_operators_stop_is_not(ending: str, told: list[str], heard: Heard) -> None:
    seen = replace(SEEN, life=NEXT, ending=Ending(ending))
    assert heard.look(Verdict(Word.STARTING), seen=seen) == told
    assert all("crashed with SIGSEGV" in event.why for event in heard.events)


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(Word.RESTARTING, Deed.RESTART, "recycled", "too old", LIFE),
        Verdict(Word.SUSPECT, cause="stalled"),
        Verdict(Word.BLIND, cause="unknown"),
        Verdict(Word.STALLED, Deed.INTERRUPT, "stalled", life=LIFE),
        Verdict(Word.STOPPED),
    ],
)
def test_what_is_planned_or_not_certain_yet_is_not_told(verdict: Verdict, heard: Heard) -> None:
    assert heard.look(verdict) == []


def test_who_stops_it_knows_that_it_does_not_work(heard: Heard) -> None:
    heard.look(Verdict(Word.RESTARTING, Deed.RESTART, "stalled", "", LIFE))
    heard.look(Verdict(Word.STOPPED))
    assert heard.look(WELL) == []


def test_a_journal_that_fails_is_told_with_what_it_may_cost(heard: Heard) -> None:
    heard.alarms.journal("database or disk is full; jobs are not kept meanwhile", 5.0)
    (event,) = heard.events
    assert (event.kind.value, event.why) == ("journal", "database or disk is full; jobs are not kept meanwhile")
    assert "a death may now cost jobs" in event.done
    assert "{" not in event.then


def test_an_extension_that_cannot_write_is_told_of_once_it_lasts(heard: Heard) -> None:
    """A disk that stands still for a moment is nobody's concern."""
    lags, keeps_up = replace(SEEN, journal="degraded"), replace(SEEN, journal="ok")
    looks = [(lags, 0.0), (lags, 5.0), (keeps_up, 9.0), (lags, 11.0), (lags, 21.0), (lags, 60.0), (keeps_up, 61.0)]
    told = [heard.look(WELL, wall, seen) for seen, wall in looks]
    assert told == [[], [], [], [], ["journal"], [], []]
    assert [heard.look(WELL, wall, lags) for wall in (70.0, 80.0)] == [[], ["journal"]]


def test_a_job_that_is_set_aside_is_told_with_its_commands(heard: Heard) -> None:
    aside = replace(JOB, state=JobState.QUARANTINED, suspect=2)
    heard.alarms.settled([(JOB, aside), (JOB, replace(JOB, state=JobState.QUEUED)), (aside, aside)], 5.0)
    (event,) = heard.events
    assert event.kind.value == "quarantine"
    assert "suspected of 2 deaths" in event.why
    assert "jobs retry abc" in event.then
