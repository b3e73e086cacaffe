"""Each default of the rules, as a behaviour."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_supervisor.health.policy.evidence import (
    RECYCLED,
    Deed,
    Ending,
    Failure,
    Finished,
    Hand,
    Life,
    Patience,
    Word,
)
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.model import GpuSight

from .looks import (
    DEAF,
    FAST_RULES,
    GIB,
    MIB,
    NOBODY,
    REFUSED,
    WAITS,
    Day,
    finished,
    new_life,
    runs,
    took,
    vitals,
)

HOURS = 3600.0
CRASH = "exited: exit status 1; not expected"


def test_a_start_is_not_restarted_within_its_grace_though_all_is_quiet() -> None:
    day = Day()
    day.run(599, age=0.0, **REFUSED)
    assert day.done() == []
    assert day.word() is Word.STARTING


def test_a_start_is_restarted_when_all_was_quiet_for_120_s_after_its_grace() -> None:
    day = Day()
    day.run(2000, age=0.0, **REFUSED)
    assert 720 <= took(day, 1000) <= 726
    assert "starting for 72" in day.verdict.reason
    assert "0.0 s of CPU" in day.verdict.reason


@pytest.mark.parametrize("moves", [{"cores": 0.3}, {"pace": 2 * MIB}, {"log": 10}])
def test_a_start_is_never_restarted_while_anything_moves(moves: dict[str, float]) -> None:
    day = Day()
    day.run(2 * HOURS, age=0.0, **REFUSED, **moves)  # type: ignore[arg-type]
    assert day.done() == ["alert"]
    assert 1800 <= day.first - 1000 <= 1806
    assert day.word() is Word.STARTING


def test_refused_connections_without_activity_or_log_are_restarted_after_30_s() -> None:
    day = Day().working()
    day.run(300, **REFUSED)
    assert 30 <= took(day, 1035) <= 41
    assert day.verdict.cause == "api_unresponsive"


def test_a_log_that_moves_defers_the_restart_for_refused_connections() -> None:
    day = Day().working()
    day.run(300, log=10, **REFUSED)
    assert day.done() == []
    assert day.word() is Word.SUSPECT


def test_a_new_image_of_the_same_process_is_a_new_start() -> None:
    day = Day().working()
    day.run(599, life=Life("boot", 100, 50.0, 8), **REFUSED)
    assert day.done() == []
    assert day.word() is Word.STARTING


def test_reads_that_time_out_without_activity_are_restarted_after_30_s() -> None:
    day = Day().working()
    began = day.now
    day.run(300, **DEAF)
    assert 30 <= took(day, began) <= 36


def test_reads_that_time_out_with_activity_are_met_with_1800_s_of_patience() -> None:
    day = Day().working()
    began = day.now
    day.run(4000, cores=1.0, **DEAF)
    assert 1800 <= took(day, began) <= 1806
    assert "uses 1.00 of a CPU" in day.verdict.reason


def test_a_stopped_process_is_killed_after_10_s_without_an_answer() -> None:
    """SIGSTOP."""
    day = Day().working()
    began = day.now
    day.run(60, status="T", **DEAF)
    assert took(day, began) <= 11
    assert day.verdict.deed is Deed.KILL
    assert day.verdict.cause == "process_stopped"


def test_a_stopped_process_is_killed_at_the_second_look_where_each_takes_as_long_as_its_time_out() -> None:
    day = Day().working()
    stopped = day.now - 5
    day.now += 5
    day.look(vitals=vitals("T"), **DEAF)
    day.now += 6
    assert day.look(vitals=vitals("T"), **DEAF).deed is Deed.KILL
    assert day.now - stopped <= 20


def test_a_process_that_is_stopped_and_goes_on_is_left_alone() -> None:
    day = Day().working()
    for _ in range(20):
        day.run(4, status="T", **DEAF)
        day.run(2)
    assert day.done() == []


@pytest.mark.parametrize("phase", ["start", "idle", "running"])
def test_a_debugger_is_left_alone_in_every_phase_and_so_is_what_it_let_go(phase: str) -> None:
    day = Day() if phase == "start" else Day().working()
    day.run(HOURS, status="t", age=0.0, **DEAF)
    assert day.done() == ["alert"]
    assert "debugger" in day.deeds[0][1].reason
    day.run(25, **DEAF)
    assert set(day.done()) == {"alert"}


def test_a_stall_is_asked_to_give_up_after_180_s_and_ended_10_s_later() -> None:
    """A deadlocked worker."""
    day = Day().working()
    began = day.now
    day.run(600, **runs(), gpu=GpuSight(percent=0))
    (asked, interrupt), (ended, restart) = day.deeds
    assert 180 <= asked - began <= 181
    assert interrupt.deed is Deed.INTERRUPT
    assert interrupt.prompt_id == "job-1"
    assert 10 <= ended - asked <= 11
    assert restart.deed is Deed.RESTART
    assert restart.cause == "stalled"
    assert "job-1" in restart.reason
    assert "19" in restart.reason
    assert "its GPU is at 0 %" in restart.reason


def test_the_stall_is_suspected_at_half_its_time() -> None:
    day = Day().working()
    day.run(89, **runs())
    assert day.word() is Word.BUSY
    day.run(6, **runs())
    assert day.word() is Word.SUSPECT


def test_before_interrupts_could_name_a_job_a_stall_is_ended_at_once() -> None:
    day = Day(Rules(interrupts=False)).working()
    began = day.now
    day.run(600, **runs())
    assert day.done() == ["restart"]
    assert 180 <= took(day, began) <= 181


def test_a_job_at_an_api_elsewhere_has_3600_s() -> None:
    day = Day().working()
    began = day.now
    day.run(1.5 * HOURS, **runs(patience=Patience.REMOTE))
    assert 3600 <= day.first - began <= 3601
    assert day.done() == ["interrupt", "restart"]


def test_a_node_that_waits_for_a_person_has_all_the_time_in_the_world() -> None:
    day = Day().working()
    day.run(4 * HOURS, **runs(patience=Patience.ENDLESS))
    assert day.done() == ["alert"]
    assert "waits for a person" in day.verdict.reason
    assert day.word() is Word.BUSY


def test_it_is_not_ended_before_it_is_known_how_patient_its_nodes_are_to_be_met() -> None:
    """That is only asked about a suspect; a listener that was kept from looking may see one that is overdue."""
    day = Day(Rules(stall_after=30.0)).working()
    day.run(14, **runs())
    day.now += 25
    day.look(**runs())
    assert (day.word(), day.done()) == (Word.SUSPECT, [])
    day.now += 1
    day.run(HOURS / 2, **runs(patience=Patience.REMOTE))
    assert day.done() == []


def test_a_deadline_that_is_longer_than_any_pause_does_not_stop_the_clocks() -> None:
    day = Day(Rules(deadline=60.0)).working()
    for _ in range(10):
        day.now += 61
        day.look(vitals=day.body("T"), **DEAF)
    assert "kill" in day.done()


def test_one_that_runs_although_it_was_given_up_is_said_and_left_alone() -> None:
    """Its hold could not be written, or is lost: without it a restart would be one too many, again and again."""
    day = Day(Rules(budget=1)).working()
    day.run(HOURS, **runs())
    for pid in (200, 300):
        day.now += 2
        day.run(60, life=Life("boot", pid, 60.0 + pid, pid))
        day.run(700, life=Life("boot", pid, 60.0 + pid, pid), **runs())
    assert day.done().count("restart") == 2
    assert "its hold is lost" in day.verdict.reason


def test_a_paused_queue_is_said_after_300_s_and_nothing_more() -> None:
    day = Day().working()
    began = day.now
    day.run(2 * HOURS, queue=4, queue_seen=True)
    assert day.done() == ["alert"]
    assert 300 <= day.first - began <= 305
    assert "4 jobs waiting" in day.deeds[0][1].reason


def test_a_pause_is_measured_on_through_looks_that_do_not_know_the_queue() -> None:
    day = Day().working()
    day.run(400, queue=4, each=lambda at: {"queue_seen": int(at) % 30 < 5})
    assert day.done() == ["alert"]


def test_a_dead_worker_is_replaced_at_once() -> None:
    day = Day().working()
    day.look(worker="alive", **runs())
    assert day.look(worker="dead", **runs()).deed is Deed.RESTART
    assert day.verdict.cause == "worker_thread_died"


def test_work_without_progress_is_said_after_30_min_and_goes_on() -> None:
    """The GPU at 100 % and no progress."""
    day = Day().working()
    began = day.now
    day.run(2 * HOURS, **runs(), gpu=GpuSight(percent=100))
    assert day.done() == ["alert"]
    assert 1800 <= day.first - began <= 1806


def test_a_hard_limit_ends_it() -> None:
    day = Day(Rules(stall_hard_limit=3600)).working()
    began = day.now
    day.run(2 * HOURS, cores=1.0, **runs())
    assert day.done() == ["alert", "interrupt", "restart"]
    assert 3610 <= took(day, began) <= 3617


def test_a_sticky_cuda_error_is_answered_at_once() -> None:
    day = Day().working()
    verdict = day.look(finished=finished("bad", failure=Failure.STICKY, text="CUDA error: an illegal memory access"))
    assert verdict.deed is Deed.RESTART
    assert "bad" in verdict.reason
    assert "illegal memory access" in verdict.reason


def test_the_job_of_an_earlier_life_poisons_none() -> None:
    bad = finished("bad", failure=Failure.STICKY, text="CUDA error")
    day = Day().working()
    day.look(finished=bad)
    day.now += 20
    day.run(60, **new_life())
    assert day.word() is Word.IDLE


def test_a_job_that_is_tried_again_under_its_own_id_poisons_the_next_life_as_well() -> None:
    """The first job to end there is the same one as the last to end before, and ComfyUI's history began anew."""
    bad = finished("bad", failure=Failure.STICKY, text="CUDA error")
    day = Day().working()
    assert day.look(finished=bad).deed is Deed.RESTART
    day.now += 20
    day.run(60, **new_life())
    assert day.look(finished=bad, **new_life()).deed is Deed.RESTART


def test_other_cuda_errors_count_at_the_third_in_a_row() -> None:
    day = Day().working()
    kinds = [Failure.CUDA, Failure.CUDA, Failure.NONE, Failure.CUDA, Failure.CUDA]
    for number, kind in enumerate(kinds):
        day.run(9, finished=finished(f"job-{number}", failure=kind))
    assert day.done() == []
    assert day.look(finished=finished("last", failure=Failure.CUDA)).deed is Deed.RESTART


def test_cuda_errors_between_two_looks_are_all_counted() -> None:
    """Each once, though the history shows them again and again; and only those in a row."""

    def failed(job: str) -> Finished:
        return finished(job, failure=Failure.CUDA)

    day = Day().working()
    day.run(9, finished=failed("b"), earlier=(finished("0"), failed("a")))
    day.run(9, finished=failed("d"), earlier=(failed("b"), finished("c")))
    day.run(9, finished=failed("e"), earlier=(finished("c"), failed("d")))
    assert day.done() == []
    assert day.look(finished=failed("f"), earlier=(failed("d"), failed("e"))).deed is Deed.RESTART
    two = Day().working()
    two.look(finished=failed("a"))
    assert two.look(finished=failed("c"), earlier=(failed("a"), failed("b"))).deed is Deed.RESTART


def test_a_sticky_error_before_another_one_is_not_overlooked() -> None:
    day = Day().working()
    sticky = finished("a", failure=Failure.STICKY, text="CUDA error")
    assert day.look(finished=finished("b", failure=Failure.CUDA), earlier=(sticky,)).deed is Deed.RESTART


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("stopped: terminated by SIGKILL", ""),
        ("exited: exit status 1; not expected", "ended by itself: exit status 1"),
        ("exited: exit status 0; expected", "ended by itself: exit status 0; expected"),
        ("exited: terminated by SIGSEGV (core dumped); not expected", "crashed with SIGSEGV"),
        ("exited: terminated by SIGTERM; not expected", "was ended by SIGTERM from outside, not by us"),
    ],
)
def test_what_befell_a_life_is_told(text: str, told: str) -> None:
    assert Ending(text).told == told


def test_what_keeps_supervisord_from_starting_it_is_told() -> None:
    day = Day().working()
    day.run(10, **NOBODY, spawn_error="unknown error making dispatchers for 'comfyui': ENOENT")
    assert day.verdict.reason.endswith(
        "supervisord is to start it: unknown error making dispatchers for 'comfyui': ENOENT"
    )


def _life(pid: int, lives: int, **more: Any) -> dict[str, Any]:
    """Return a look at another life, of which the launcher has counted so many."""
    return new_life(pid, lives=lives, ending=Ending(CRASH), **more)


def test_deaths_too_quick_to_be_seen_are_counted() -> None:
    """Each look shows a launcher, since what that becomes is dead by the next: six of them are too many."""
    day = Day()
    for life in range(7):
        day.look(**{**WAITS, **_life(201 + life, life), "hold": "backoff"})
        assert len(day.state.restarts) == life
        day.now += 5
    assert day.verdict.hold == "gave_up"


def test_two_deaths_between_two_looks_are_two() -> None:
    day = Day()
    day.run(30, **_life(201, 1))
    day.run(10, **_life(203, 3))
    assert len(day.state.restarts) == day.state.row == 2
    day.run(10, **{**WAITS, **_life(204, 3)})
    day.run(10, **_life(204, 4))
    assert len(day.state.restarts) == 3


def test_of_two_deaths_the_one_that_we_caused_is_counted_once() -> None:
    day = Day()
    day.run(30, **_life(201, 1))
    day.look(finished=finished("bad", failure=Failure.STICKY), **_life(201, 1))
    assert day.done() == ["restart"]
    day.run(30, **_life(203, 3))
    assert len(day.state.restarts) == 2


def test_a_record_of_starts_that_begins_anew_counts_nothing_twice() -> None:
    """As after an operator's reset; nor does one that is gone, or that nobody can believe."""
    day = Day()
    day.run(30, **_life(201, 9))
    for lives in (9, 1, 0, 0, 1, 2):
        day.run(10, **_life(201, lives))
    day.run(10, **_life(202, 3))
    assert len(day.state.restarts) == 1
    day.look(**_life(203, 10**9))
    day.look(**_life(203, 10**9))
    assert len(day.state.restarts) <= day.rules.budget + 1


def test_a_start_that_is_noted_while_we_look_is_no_death() -> None:
    """The record is read first, so that it may be older than the process that is seen then."""
    day = Day()
    day.run(30, **_life(201, 1))
    day.run(10, **_life(202, 1))
    day.run(10, **_life(202, 2))
    assert len(day.state.restarts) == 1
    day.run(10, **_life(203, 3))
    assert len(day.state.restarts) == 2


def test_a_large_process_is_replaced_when_idle() -> None:
    day = Day(Rules(memory_limit=8 * GIB)).working(700)
    day.run(60, body={"memory": 9 * GIB}, **runs(), cores=1.0)
    assert day.done() == []
    day.run(60, body={"memory": 9 * GIB})
    assert day.verdict.cause == RECYCLED
    assert "9.0 GiB" in day.verdict.reason
    assert not day.state.restarts
    assert day.verdict.hold == ""


def test_an_old_process_is_replaced_when_idle() -> None:
    day = Day(Rules(recycle_after=3600))
    day.run(2 * HOURS)
    assert day.verdict.cause == RECYCLED
    assert 3600 <= day.now - 1000 + 60 <= 3606
    assert "1.0 h" in day.verdict.reason


@pytest.mark.parametrize(
    ("deaths", "seconds"), [(0, 0), (1, 0), (2, 10), (3, 20), (4, 40), (6, 160), (7, 300), (99, 300)]
)
def test_backoff(deaths: int, seconds: float) -> None:
    assert Rules().delay(deaths) == seconds


def crash(day: Day, pid: int, ending: str = "exited: terminated by SIGSEGV; not expected") -> None:
    day.now += 30
    day.look(**NOBODY)
    day.now += 1
    day.look(**{**WAITS, **new_life(pid), "ending": Ending(ending)}, hold="backoff")


def test_the_sixth_death_within_an_hour_is_the_last() -> None:
    """It crashes for ever."""
    day = Day().working()
    for pid in range(101, 106):
        crash(day, pid)
        assert day.verdict.deed is Deed.NOTHING
        assert day.word() is Word.BACKOFF
        day.look(life=Life("boot", pid, 50.0 + pid, 1))
    crash(day, 106)
    assert day.verdict.deed is Deed.HOLD
    assert day.verdict.hold == "gave_up"
    assert day.verdict.hold_seconds == 900
    assert day.word() is Word.GAVE_UP
    assert "6 deaths" in day.verdict.reason
    day.run(800, **{**WAITS, **new_life(106)}, hold="gave_up", hold_ours=True)
    assert day.done() == ["hold"]
    assert day.word() is Word.GAVE_UP


def test_deaths_more_than_an_hour_ago_count_no_more() -> None:
    day = Day().working()
    for pid in range(101, 120):
        crash(day, pid)
        day.now += 800
        day.look(life=Life("boot", pid, 50.0 + pid, 1))
    assert day.done() == []


def sick_and_ended(day: Day, pid: int) -> None:
    day.run(30, **new_life(pid))
    day.run(100, **new_life(pid), **DEAF)
    day.run(5, **{**NOBODY, "hand": Hand.BUSY})


def test_five_restarts_then_it_is_given_up_but_for_one_try_every_15_min() -> None:
    day = Day()
    for pid in range(101, 106):
        sick_and_ended(day, pid)
        assert day.word() is Word.RESTARTING
    assert [verdict.hold_seconds for _, verdict in day.deeds] == [None, 10, 20, 40, 80]
    sick_and_ended(day, 106)
    last = day.deeds[-1][1]
    assert last.word is Word.GAVE_UP
    assert last.hold == "gave_up"
    assert last.hold_seconds == 900
    assert len(day.state.restarts) == 5
    day.run(901, **{**WAITS, **new_life(107)}, hold="gave_up", hold_ours=True)
    sick_and_ended(day, 107)
    assert day.deeds[-1][1].hold == "gave_up"
    assert len(day.state.restarts) == 5


@pytest.mark.parametrize("way", ["lifted", "stopped", "restarted", "reset"])
def test_an_operator_ends_the_giving_up(way: str) -> None:
    day = Day()
    for pid in range(101, 107):
        sick_and_ended(day, pid)
    waits = {**WAITS, **new_life(107)}
    day.run(60, **waits, hold="gave_up", hold_ours=True)
    assert day.state.given_up
    if way == "lifted":
        day.look(life=Life("boot", 107, 157.0, 1))
    elif way == "stopped":
        day.look(**{**NOBODY, "supervised": "STOPPED"})
        day.look(**new_life(108))
    elif way == "restarted":
        day.look(**new_life(108), ending=Ending("stopped: exit status 0"))
    else:
        day.look(reset=True, **waits, hold="gave_up", hold_ours=True)
    assert not day.state.given_up
    assert not day.state.restarts
    assert day.state.row == 0


def test_a_restart_that_is_tried_again_after_a_reset_is_counted_anew() -> None:
    day = Day().working()
    day.run(60, **DEAF)
    day.look(reset=True, hand=Hand.BUSY, **DEAF)
    day.run(60, **DEAF)
    assert day.done() == ["restart", "restart"]
    assert len(day.state.restarts) == 1


def test_a_restart_that_has_no_effect_for_more_than_an_hour_still_counts() -> None:
    day = Day().working()
    for _ in range(400):
        day.run(15, **DEAF)
        day.now += 1
    assert len(day.state.restarts) == 1
    assert day.state.restarts[0] > 1065
    assert day.verdict.word is Word.RESTARTING


def test_a_try_that_was_due_keeps_the_count() -> None:
    day = Day()
    for pid in range(101, 107):
        sick_and_ended(day, pid)
    day.run(905, **{**WAITS, **new_life(107)}, hold="gave_up", hold_ours=True)
    day.look(life=Life("boot", 107, 157.0, 1), **REFUSED)
    assert day.state.given_up


def test_ten_healthy_minutes_end_the_row() -> None:
    day = Day()
    sick_and_ended(day, 101)
    sick_and_ended(day, 102)
    day.run(590, **new_life(103))
    assert day.state.row == 2
    day.run(20, **new_life(103))
    assert day.state.row == 0
    assert len(day.state.restarts) == 2


def test_a_clean_exit_is_no_death_unless_it_came_at_once() -> None:
    clean = Ending("exited: exit status 0; expected")
    day = Day().working()
    day.look(**new_life(101), ending=clean)
    assert not day.state.restarts
    day.now += 5
    day.look(**new_life(102), ending=clean)
    assert len(day.state.restarts) == 1


def test_an_ending_that_is_known_late_is_reckoned_with_late() -> None:
    day = Day().working()
    day.look(**new_life(101))
    assert len(day.state.restarts) == 1
    assert day.state.row == 1
    day.look(**new_life(101), ending=Ending("stopped: terminated by SIGTERM"))
    assert not day.state.restarts
    assert day.state.row == 0


def test_what_we_ended_is_counted_once_also_over_a_restart_of_the_listener() -> None:
    day = Day().working()
    day.run(100, **DEAF)
    assert len(day.state.restarts) == 1
    day.now += 500
    day.look(**new_life(101), ending=Ending("exited: terminated by SIGKILL; not expected"))
    assert len(day.state.restarts) == 1


@pytest.mark.parametrize("xid", [13, 31, 43, 45, 63, 68, 94, 109])
def test_errors_of_the_drivers_that_count_with_another_sign(xid: int) -> None:
    day = Day().working()
    day.run(60, gpu=GpuSight(xids=(xid,)))
    assert day.done() == []
    day.look(gpu=GpuSight(xids=(xid,)), finished=finished("bad", failure=Failure.CUDA))
    assert day.done() == ["restart"]
    assert f"Xid {xid}," in day.verdict.reason


@pytest.mark.parametrize("xid", [*range(1, 13), *range(14, 31), 32, 37, 44, 61, 64, 69, 74, 92, 93, 110, 119])
def test_errors_of_the_drivers_that_do_not(xid: int) -> None:
    """Those that need a person come as a fault of the GPU."""
    day = Day().working()
    day.look(gpu=GpuSight(xids=(xid,)), finished=finished("bad", failure=Failure.CUDA))
    assert day.done() == []


@pytest.mark.parametrize(
    ("figures", "active"),
    [
        ({"cores": 0.19}, False),
        ({"cores": 0.21}, True),
        ({"pace": 1_048_000}, False),
        ({"pace": 1_049_000}, True),
        ({"starved": 0.49}, False),
        ({"starved": 0.51}, True),
    ],
)
def test_what_activity_is(figures: dict[str, float], active: bool) -> None:
    """A fifth of a CPU, 1 MiB a second, half a CPU that is waited for."""
    day = Day().working()
    day.run(200, **runs(), **figures)  # type: ignore[arg-type]
    assert day.done() == ([] if active else ["interrupt", "restart"])


def test_five_idle_seconds_come_before_a_restart_that_is_planned() -> None:
    day = Day(Rules(recycle_after=600)).working(500)
    day.run(60, cores=1.0, **runs())
    assert day.done() == []
    for _ in range(5):
        day.now += 1
        assert day.look().deed is Deed.NOTHING
    day.now += 1
    day.look()
    assert day.verdict.cause == RECYCLED


def test_three_good_answers_in_a_row_end_the_doubts() -> None:
    day = Day().working()
    day.look(**DEAF)
    words = []
    for _ in range(3):
        day.now += 1
        words.append(day.look().word)
    assert words == [Word.SUSPECT, Word.SUSPECT, Word.IDLE]


FAST_BOUNDS = [
    ("a job deadlocks", runs(), "S", 60),
    ("its API is dead", DEAF, "S", 25),
    ("its port is closed", REFUSED, "S", 25),
    ("a signal stopped it", DEAF, "T", 12),
]


@pytest.mark.parametrize(
    ("look", "status", "bound"), [each[1:] for each in FAST_BOUNDS], ids=[e[0] for e in FAST_BOUNDS]
)
def test_the_preset_for_short_jobs_keeps_its_bounds(look: dict[str, Any], status: str, bound: float) -> None:
    """Until the deed; of what is left, 10 s are for a process that does not hear SIGINT, and none for one stopped."""
    day = Day(FAST_RULES).working()
    began = day.now
    day.run(100, status=status, **look)
    assert took(day, began) <= bound - (0 if status == "T" else 10)


def test_the_preset_for_short_jobs_leaves_alone_what_works() -> None:
    day = Day(FAST_RULES).working()
    day.run(60, cores=1.0, **runs())
    day.run(60, cores=1.0, **DEAF)
    day.run(60, pace=2 * MIB, **runs())
    day.run(600, **runs(patience=Patience.REMOTE))
    assert day.done() == []


@pytest.mark.parametrize("require", [True, False])
def test_the_cpu_where_a_gpu_was_meant(require: bool) -> None:
    day = Day(Rules(gpu_require=require))
    day.run(3600, device="cpu")
    verdict = day.deeds[0][1]
    assert verdict.cause == "cpu_fallback"
    assert len(day.deeds) == 1
    assert (verdict.deed, verdict.hold) == ((Deed.RESTART, "configuration") if require else (Deed.ALERT, ""))
    assert not day.state.given_up


def test_the_cpu_where_it_was_meant() -> None:
    day = Day(Rules(gpu_meant=False))
    day.run(300, device="cpu")
    assert day.done() == []
