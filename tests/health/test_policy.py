"""Every row of the decision table: how it is reached, and what it says before its time and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from comfy_supervisor.health.policy import judge as policy
from comfy_supervisor.health.policy.case import Case
from comfy_supervisor.health.policy.evidence import (
    RECYCLED,
    Deed,
    Ending,
    Failure,
    Hand,
    Patience,
    Reply,
    Word,
)
from comfy_supervisor.health.policy.row import Row
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.health.policy.table import TABLE
from comfy_supervisor.model import GpuSight

from .looks import DEAF, GIB, NOBODY, REFUSED, UNASKED, WAITS, Day, finished, new_life, runs


def _asked(day: Day) -> None:
    day.run(181, **runs())
    day.now += 1


def _anew(day: Day) -> None:
    """Nothing went before."""


def _ended(day: Day) -> None:
    day.working()
    day.run(60, **DEAF)
    day.now += 1


def _spent(day: Day) -> None:
    day.working()
    for pid in range(201, 207):
        day.now += 20
        day.look(**new_life(pid))


def _two_cuda_errors(day: Day) -> None:
    for job in "ab":
        day.look(finished=finished(job, failure=Failure.CUDA))


FAULTY = Ending("exited: exit status 2; not expected", "flag_unknown", "ComfyUI 0.22 has no --normalvram")
STRANGE = {**DEAF, "reply": Reply.STRANGE, "reply_text": "HTTP 302"}


@dataclass
class Cell:
    """A row, what leads there, and what it says."""

    row: str
    look: dict[str, Any]
    late: Word
    deed: Deed = Deed.NOTHING
    cause: str = "healthy"
    says: str = ""
    early: Word | None = None
    """None: it acts at the first look."""
    at: float = 0.0
    """Seconds until it acts, from the first look that it applies to."""
    before: Callable[[Day], object] = Day.working
    rules: Rules = field(default_factory=Rules)
    hold: str = ""


CELLS = [
    Cell(
        "supervisord-silent",
        {"supervised": ""},
        Word.BLIND,
        Deed.ALERT,
        "unknown",
        "supervisord does not answer",
        Word.BLIND,
        30,
    ),
    Cell(
        "supervisord-silent",
        {"supervised": ""},
        Word.BLIND,
        Deed.ALERT,
        "unknown",
        "supervisord does not answer",
        Word.BLIND,
        30,
        lambda day: day.run(90, **NOBODY),
    ),
    Cell(
        "unkillable",
        {**DEAF, "hand": Hand.STUCK},
        Word.RESTARTING,
        Deed.ALERT,
        "api_unresponsive",
        "SIGKILL",
        before=_ended,
    ),
    Cell(
        "hand-at-work",
        {**DEAF, "hand": Hand.BUSY},
        Word.RESTARTING,
        Deed.ALERT,
        "api_unresponsive",
        "our hand has been at it for 120 s",
        Word.RESTARTING,
        120,
        _ended,
    ),
    Cell("stopped", {**NOBODY, "supervised": "STOPPED"}, Word.STOPPED, says="somebody stopped it"),
    Cell("fatal", {**NOBODY, "supervised": "FATAL"}, Word.STOPPED, Deed.ALERT, "unknown", "(FATAL)"),
    Cell("between-two-lives", NOBODY, Word.BACKOFF, Deed.ALERT, "unknown", "120 s ago", Word.BACKOFF, 120),
    Cell("deed-under-way", DEAF, Word.RESTARTING, cause="api_unresponsive", says="30 s", before=_ended),
    Cell(
        "gpu-fault",
        {"gpu": GpuSight(fault="Xid 79: GPU 0 has fallen off the bus")},
        Word.GPU_FAULT,
        Deed.RESTART,
        "gpu_lost",
        "Xid 79",
        hold="gpu_fault",
    ),
    Cell(
        "misconfigured",
        {**WAITS, **new_life(), "ending": FAULTY},
        Word.GAVE_UP,
        Deed.HOLD,
        "flag_unknown",
        "--normalvram",
        hold="configuration",
    ),
    Cell(
        "crashes-for-ever",
        {**WAITS, **new_life(206), "hold": "backoff"},
        Word.GAVE_UP,
        Deed.HOLD,
        "unknown",
        "6 deaths and restarts within 60 min",
        before=_spent,
        hold="gave_up",
    ),
    Cell(
        "held-by-the-launcher",
        {**WAITS, "hold": "configuration", "hold_text": "port 8188: nginx (77)", "hold_cause": "port_in_use"},
        Word.GAVE_UP,
        Deed.ALERT,
        "port_in_use",
        "nginx (77)",
    ),
    *(
        Cell(
            "held",
            {**WAITS, "hold": hold, "hold_ours": True, "hold_text": "see there"},
            word,
            Deed.NOTHING,
            "unknown",
            "see",
        )
        for hold, word in (
            ("backoff", Word.BACKOFF),
            ("gave_up", Word.GAVE_UP),
            ("configuration", Word.GAVE_UP),
            ("gpu_fault", Word.GPU_FAULT),
            ("maintenance", Word.STOPPED),
        )
    ),
    Cell("launching", WAITS, Word.STARTING, Deed.ALERT, "unknown", "600 s", Word.STARTING, 600),
    Cell(
        "debugged",
        {**DEAF, "vitals": "t"},
        Word.IDLE,
        Deed.ALERT,
        "process_stopped",
        "a debugger",
    ),
    Cell(
        "somebody-else-answers",
        {"vitals": "elsewhere"},
        Word.SUSPECT,
        Deed.ALERT,
        "port_in_use",
        "another program",
        Word.SUSPECT,
        30,
    ),
    Cell(
        "stopped-in-its-start",
        {**REFUSED, "vitals": "T", "age": 0.0},
        Word.STARTING,
        Deed.ALERT,
        "process_stopped",
        "10 s ago, 10 s into its start",
        Word.STARTING,
        10,
        _anew,
    ),
    Cell(
        "stopped-in-its-start",
        {**REFUSED, "vitals": "T", "age": 700.0},
        Word.RESTARTING,
        Deed.KILL,
        "process_stopped",
        "10 s ago, 710 s into its start",
        Word.STARTING,
        10,
        _anew,
    ),
    Cell(
        "start-hangs",
        {**REFUSED, "age": 600.0},
        Word.RESTARTING,
        Deed.RESTART,
        "stalled",
        "starting for 720 s, and the process used 0.0 s of CPU",
        Word.STARTING,
        90,
        lambda day: day.run(25, age=600.0, **REFUSED),
    ),
    Cell(
        "starting",
        {**REFUSED, "age": 9.0},
        Word.STARTING,
        says="starting for 9 s; connection refused",
        before=_anew,
    ),
    Cell(
        "frozen",
        {**DEAF, "vitals": "T"},
        Word.RESTARTING,
        Deed.KILL,
        "process_stopped",
        "5 s ago, and its last answer was 10 s ago",
        Word.SUSPECT,
        5,
    ),
    Cell(
        "worker-dead",
        {**runs(waiting=2), "worker": "dead"},
        Word.RESTARTING,
        Deed.RESTART,
        "worker_thread_died",
        "3",
        before=lambda day: day.run(20, worker="alive", **runs(waiting=2)),
    ),
    Cell(
        "poisoned",
        {"finished": finished("bad", failure=Failure.STICKY, text="CUDA error: device-side assert triggered")},
        Word.RESTARTING,
        Deed.RESTART,
        "cuda_poisoned",
        "job bad ended with: CUDA error: device-side assert triggered",
    ),
    Cell(
        "cuda-errors",
        {"finished": finished("c", failure=Failure.CUDA)},
        Word.RESTARTING,
        Deed.RESTART,
        "cuda_poisoned",
        "the last 3 jobs",
        before=_two_cuda_errors,
    ),
    Cell(
        "driver-error",
        {"gpu": GpuSight(xids=(7, 31, 13)), "finished": finished("b", failure=Failure.CUDA)},
        Word.RESTARTING,
        Deed.RESTART,
        "cuda_poisoned",
        "Xid 31, 13",
    ),
    Cell(
        "on-the-cpu", {"device": "cpu"}, Word.GAVE_UP, Deed.RESTART, "cpu_fallback", "on the CPU", hold="configuration"
    ),
    Cell("hold-is-over", {"hold": "backoff", "hold_ours": True}, Word.IDLE, Deed.LIFT, "healthy", "(backoff)"),
    Cell(
        "slowly-on-the-cpu",
        {"device": "cpu"},
        Word.IDLE,
        Deed.ALERT,
        "cpu_fallback",
        "on the CPU",
        rules=Rules(gpu_require=False),
    ),
    Cell(
        "deaf-for-too-long",
        {**DEAF, "vitals": "disk"},
        Word.RESTARTING,
        Deed.RESTART,
        "api_unresponsive",
        "for 1800 s (no answer in 5 s), though the process waits for a disk",
        before=lambda day: (day.working(), day.run(1799, body={"waits_for_disk": True}, **DEAF)),
    ),
    Cell(
        "nobody-listens",
        {**REFUSED, "vitals": "elsewhere", "company": True},
        Word.RESTARTING,
        Deed.RESTART,
        "api_unresponsive",
        "for 30 s, and the process used 0.0 s of CPU",
        Word.SUSPECT,
        30,
    ),
    Cell(
        "refused", REFUSED, Word.RESTARTING, Deed.RESTART, "api_unresponsive", "connections for 30 s", Word.SUSPECT, 30
    ),
    Cell(
        "deaf", DEAF, Word.RESTARTING, Deed.RESTART, "api_unresponsive", "for 30 s (no answer in 5 s)", Word.SUSPECT, 30
    ),
    Cell(
        "strange",
        STRANGE,
        Word.SUSPECT,
        Deed.ALERT,
        "unknown",
        "HTTP 302; the last good answer 300 s",
        Word.SUSPECT,
        295,
    ),
    Cell("unasked", UNASKED, Word.BLIND, Deed.ALERT, "unknown", "too many open files", Word.BLIND, 30),
    Cell("waits-for-a-person", runs(patience=Patience.ENDLESS), Word.BUSY, says="job-1"),
    Cell(
        "would-not-give-up",
        runs(),
        Word.RESTARTING,
        Deed.RESTART,
        "stalled",
        "asked to give up 10 s ago",
        Word.STALLED,
        7,
        _asked,
    ),
    Cell(
        "stalled",
        runs(),
        Word.STALLED,
        Deed.INTERRUPT,
        "stalled",
        "job-1 has made no step for 180 s",
        Word.SUSPECT,
        85,
        lambda day: (day.working(), day.run(94, **runs())),
    ),
    Cell(
        "toils-for-too-long",
        {**runs(), "vitals": "disk"},
        Word.STALLED,
        Deed.INTERRUPT,
        "stalled",
        "no step for 401 s, though the process waits for a disk",
        Word.SUSPECT,
        1,
        before=lambda day: day.run(399, body={"waits_for_disk": True}, **runs()),
        rules=Rules(stall_hard_limit=400),
    ),
    Cell(
        "toils",
        {**runs(), "vitals": "disk"},
        Word.BUSY,
        Deed.ALERT,
        "stalled",
        "no step for 1800 s, though the process waits for a disk",
        before=lambda day: day.run(1799, body={"waits_for_disk": True}, **runs()),
    ),
    Cell(
        "paused",
        {"queue": 7},
        Word.IDLE,
        Deed.ALERT,
        "unknown",
        "7 jobs waiting, and none has begun for 300 s: paused by somebody?",
        Word.IDLE,
        300,
    ),
    Cell(
        "held-by-an-operator",
        {"queue": 7, "held": "paused"},
        Word.IDLE,
        Deed.NOTHING,
        "healthy",
        "paused, with 7 jobs waiting",
    ),
    Cell(
        "queue-unseen",
        {"queue": 7, "queue_seen": False},
        Word.SUSPECT,
        Deed.ALERT,
        "unknown",
        "7 jobs, and it can't be told which one runs; for 300 s",
        Word.SUSPECT,
        119,
        lambda day: day.run(180, queue=7, queue_seen=False),
    ),
    Cell(
        "shaky",
        {},
        Word.SUSPECT,
        cause="api_unresponsive",
        says="failed now and then for 1 s",
        before=lambda day: (day.working(), day.run(0, **DEAF)),
    ),
    Cell(
        "too-large",
        {"vitals": "large"},
        Word.RESTARTING,
        Deed.RESTART,
        RECYCLED,
        "9.0 GiB",
        before=lambda day: day.working(600),
        rules=Rules(memory_limit=8 * GIB),
    ),
    Cell(
        "too-old",
        {},
        Word.RESTARTING,
        Deed.RESTART,
        RECYCLED,
        "0.2 h",
        before=lambda day: day.working(539),
        rules=Rules(recycle_after=600),
    ),
    Cell("busy", runs(waiting=2), Word.BUSY, says="3 jobs; the last step 0 s ago"),
    Cell("idle", {}, Word.IDLE, says="has no job"),
]
BODIES: dict[str, dict[str, Any]] = {
    "t": {"status": "t"},
    "T": {"status": "T"},
    "elsewhere": {"listens": False},
    "disk": {"waits_for_disk": True},
    "large": {"memory": 9 * GIB},
}


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the rows that decided, the last one last."""
    found: list[str] = []
    applies = policy.applies

    def noted(case: Case) -> Row:
        found.append(applies(case).name)
        return applies(case)

    monkeypatch.setattr(policy, "applies", noted)
    return found


def _look(day: Day, cell: Cell) -> None:
    look = dict(cell.look)
    if isinstance(look.get("vitals"), str):
        look["vitals"] = day.body(**BODIES[look["vitals"]])
    day.look(**look)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.row}-{cell.late.value}-{cell.deed.value}")
def test_row(cell: Cell, rows: list[str]) -> None:
    day = Day(cell.rules)
    cell.before(day)
    rows.clear()
    for _ in range(int(cell.at)):
        _look(day, cell)
        assert (day.verdict.word, day.verdict.deed) == (cell.early, Deed.NOTHING), day.verdict
        assert rows[-1] == cell.row
        day.now += 1
    _look(day, cell)
    assert rows[-1] == cell.row
    verdict = day.verdict
    assert (verdict.word, verdict.deed, verdict.cause) == (cell.late, cell.deed, cell.cause)
    assert cell.says in verdict.reason
    assert verdict.hold == cell.hold


def test_every_row_has_its_test() -> None:
    names = [row.name for row in TABLE]
    assert sorted(set(names)) == sorted(names)
    assert {cell.row for cell in CELLS} == set(names)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.row}-{cell.late.value}-{cell.deed.value}")
def test_no_row_repeats_itself_each_second(cell: Cell) -> None:
    """A deed that the hand is given is not given again at the next look; an alert comes once in a life."""
    day = Day(cell.rules)
    cell.before(day)
    for _ in range(int(cell.at) + 2):
        _look(day, cell)
        day.now += 1
    deeds = [verdict.deed for _, verdict in day.deeds if verdict.deed is cell.deed]
    for _ in range(5):
        _look(day, cell)
        day.now += 1
    assert [verdict.deed for _, verdict in day.deeds if verdict.deed is cell.deed] == deeds


def test_one_that_nothing_holds_back_is_not_given_up_whatever_was_before() -> None:
    day = Day()
    _spent(day)
    assert day.look(**WAITS, **new_life(206)).deed is Deed.NOTHING
    assert day.look(**WAITS, **new_life(206), hold="backoff").deed is Deed.HOLD


@pytest.mark.parametrize("hold", ["", "backoff", "maintenance"])
def test_a_lost_gpu_is_told_of_whatever_the_launcher_waits_for(hold: str) -> None:
    day = Day().working()
    day.look(**WAITS, **new_life(), hold=hold, gpu=GpuSight(fault="Xid 79: GPU 0 has fallen off the bus"))
    assert (day.verdict.word, day.verdict.deed) == (Word.GPU_FAULT, Deed.HOLD)


@pytest.mark.parametrize(
    ("look", "limit", "before", "then"),
    [
        (WAITS, 600, "the launcher has been clearing the way for 5 s", "clearing the way for 605 s"),
        ({"queue": 7}, 300, "7 jobs waiting, and none has begun for 5 s", "for 305 s: paused by somebody?"),
    ],
)
def test_what_lasts_is_of_an_unknown_cause_once_it_has_lasted_too_long(
    look: dict[str, Any], limit: float, before: str, then: str
) -> None:
    day = Day().working()
    day.look(**look)
    day.now += 5
    day.look(**look)
    assert (day.verdict.cause, day.verdict.reason) == ("healthy", before)
    day.run(limit, **look)
    assert day.verdict.cause == "unknown"
    assert day.verdict.reason.endswith(then)


def test_how_old_it_has_become_is_told_in_hours() -> None:
    day = Day(Rules(recycle_after=3600.0))
    day.run(60, age=3_600_000.0)
    assert "older than health.recycle_after: 1000.0 h" in day.verdict.reason


def test_an_empty_queue_that_nobody_looks_into_is_no_stall() -> None:
    day = Day()
    day.run(900, queue=0, queue_seen=False)
    assert (day.word(), day.done()) == (Word.IDLE, [])


def test_a_debugger_shows_what_it_hides() -> None:
    busy, starting = Day(), Day()
    busy.run(30, **runs())
    busy.look(vitals=busy.body("t"), **DEAF)
    starting.look(vitals=starting.body("t"), **DEAF)
    assert (busy.word(), starting.word()) == (Word.BUSY, Word.STARTING)
