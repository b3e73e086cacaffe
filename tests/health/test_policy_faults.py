"""The faults to survive, as far as they are the policy's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from comfy_supervisor.health.policy.evidence import Deed, Ending, Failure, Hand, Life, Reply, State, Word
from comfy_supervisor.health.policy.fleet import company
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.model import GpuSight

from .looks import (
    CLOSELY,
    DEAF,
    FAST_RULES,
    REFUSED,
    UNASKED,
    WAITS,
    Day,
    finished,
    new_life,
    runs,
    seen,
    took,
)

HOURS = 3600.0


def test_http_500s_are_acted_upon_only_if_they_last() -> None:
    errors = {**DEAF, "reply": Reply.ERROR, "reply_text": "HTTP 500"}
    day = Day().working()
    day.run(25, **errors)
    day.run(25)
    assert day.done() == []
    day.run(60, **errors)
    assert day.done() == ["restart"]
    assert "HTTP 500" in day.verdict.reason


@pytest.mark.parametrize("phase", ["start", "later"])
def test_malformed_json_kills_nothing(phase: str) -> None:
    day = Day() if phase == "start" else Day().working()
    day.run(HOURS, **{**DEAF, "reply": Reply.STRANGE, "reply_text": "not JSON"})
    assert day.done() == ["alert"]
    assert "not JSON" in day.verdict.reason


@pytest.mark.parametrize("reply", [Reply.GOOD, Reply.STRANGE, Reply.ERROR])
def test_another_server_on_the_port_is_said_and_touched_by_nobody(reply: Reply) -> None:
    day = Day().working()
    day.run(HOURS, body={"listens": False}, reply=reply, queue=None)
    assert day.done() == ["alert"]
    assert day.verdict.cause == "port_in_use"


def test_another_servers_answer_is_no_first_answer() -> None:
    day = Day()
    day.run(100, body={"listens": False}, age=0.0)
    day.run(400, age=0.0, **REFUSED)
    assert "restart" not in day.done()
    assert day.word() is Word.STARTING


@pytest.mark.parametrize("gap", [31.0, 8 * HOURS, -86400.0])
def test_a_time_without_looks_counts_for_nothing(gap: float) -> None:
    """Suspended; and a clock that jumps, which the monotonic one does not."""
    day = Day().working()
    day.run(170, **runs())
    day.now += gap
    day.run(5, **runs())
    assert day.done() == []
    began = day.now
    day.run(60, **runs())
    assert day.done()[0] == "interrupt"
    assert day.first - began <= 10


def test_looks_that_could_not_ask_count_for_nothing_and_take_nothing_back() -> None:
    """Our own error never counts as the instance's failure."""
    day = Day().working()
    day.run(20, **DEAF)
    day.run(1.5 * HOURS, **UNASKED)
    assert day.done() == ["alert"]
    assert day.word() is Word.BLIND
    began = day.now
    day.run(60, **DEAF)
    assert day.done() == ["alert", "restart"]
    assert 5 <= took(day, began) <= 12


def test_a_poisoned_one_of_which_nothing_can_be_seen_is_dealt_with_once_it_can_be() -> None:
    day = Day().working()
    sticky = finished("bad", failure=Failure.STICKY, text="CUDA error")
    day.look(finished=sticky, maintenance=True)
    day.run(10, **{**UNASKED, "vitals": None})
    assert day.done() == []
    assert day.look(finished=sticky).deed is Deed.RESTART


def test_a_supervisord_that_does_not_answer_blinds_us() -> None:
    day = Day().working()
    day.run(600, supervised="", **DEAF)
    assert day.done() == ["alert"]
    assert day.word() is Word.BLIND
    assert day.first - 1035 <= 32


def test_two_bad_one_good_is_no_oscillation() -> None:
    day = Day().working()
    words = set()
    for number in range(300):
        day.now += 1
        words.add(day.look(**(DEAF if number % 3 < 2 else {})).word)
    assert words == {Word.SUSPECT}
    assert "restart" not in day.done()


def test_all_at_once_is_rather_us() -> None:
    """With the real company of three, each deaf at nearly the same time."""
    days = {name: Day().working() for name in "abc"}
    for _ in range(120):
        for day in days.values():
            states = {name: each.state for name, each in days.items()}
            others = next(name for name, each in days.items() if each is day)
            day.now += 1
            day.look(**DEAF, company=company(others, states, day.rules))
    assert all(day.word() is Word.BLIND and day.done() == ["alert"] for day in days.values())


def test_one_of_three_is_alone() -> None:
    days = {name: Day().working() for name in "abc"}
    days["a"].run(10, **DEAF)
    states = {name: each.state for name, each in days.items()}
    assert not company("a", states, Rules())
    assert not company("b", states, Rules())


def test_proof_on_one_of_them_ends_the_company() -> None:
    days = {name: Day().working() for name in "ab"}
    days["a"].run(5, **REFUSED, body={"listens": False})
    days["b"].run(5, **DEAF)
    assert not company("b", {name: each.state for name, each in days.items()}, Rules())


ILL = State(word=Word.SUSPECT, cause="stalled", ill=100.0)
WELL = State(word=Word.IDLE, cause="healthy")


@pytest.mark.parametrize(
    ("others", "together"),
    [
        ([], False),
        ([ILL], True),
        ([ILL, WELL, WELL], True),  # 2 of 4
        ([ILL, WELL, WELL, WELL], False),  # 2 of 5
        ([ILL, ILL, WELL, WELL, WELL], True),  # 3 of 6
        ([ILL, ILL, WELL, WELL, WELL, WELL], False),  # 3 of 7
        ([replace(ILL, ill=110.0)], True),
        ([replace(ILL, ill=90.0)], True),
        ([replace(ILL, ill=111.0)], False),
        ([replace(ILL, ill=89.0)], False),
        ([replace(ILL, ill=111.0), replace(ILL, ill=105.0), WELL], True),
        ([replace(ILL, cause="api_unresponsive")], False),
        ([replace(ILL, cause="api_unresponsive"), ILL], True),
        ([replace(ILL, cause="api_unresponsive"), replace(ILL, cause="unknown"), ILL, WELL], False),
        ([replace(ILL, proven=True)], False),
        ([replace(ILL, ill=None)], False),
        *(([ILL, *[State(word=word, cause="unknown")] * 6], word is Word.STOPPED) for word in Word),
    ],
)
def test_company_is_two_or_more_and_at_least_half_of_all_that_nobody_stopped(
    others: list[State], together: bool
) -> None:
    """Of eight that are being started or held but for two, these two really stall."""
    states = {"mine": ILL, **{str(number): other for number, other in enumerate(others)}}
    assert company("mine", states, Rules()) is together


def test_one_that_is_not_ill_or_not_known_is_in_no_company() -> None:
    states = {"a": ILL, "b": ILL, "well": replace(ILL, ill=None)}
    assert not company("well", states, Rules())
    assert not company("nobody", states, Rules())


def test_what_is_proven_is_acted_upon_in_any_company() -> None:
    day = Day().working()
    day.run(60, status="T", company=True, **DEAF)
    assert day.done() == ["kill"]


@pytest.mark.parametrize("word", ["STOPPED", "STOPPING"])
def test_what_an_operator_stopped_stays_stopped(word: str) -> None:
    """While it is suspect."""
    day = Day().working()
    day.run(20, **DEAF)
    day.run(2 * HOURS, supervised=word, **DEAF)
    assert day.done() == []
    assert day.word() is Word.STOPPED


def test_a_reused_pid_inherits_nothing() -> None:
    day = Day().working()
    day.run(25, **DEAF)
    day.run(60, life=Life("boot", 100, 999.0, 7), age=0.0, **DEAF)
    assert day.done() == []
    assert day.word() is Word.STARTING


def test_a_process_that_survives_sigkill_is_said_once() -> None:
    day = Day().working()
    day.run(60, **DEAF)
    day.run(10, hand=Hand.BUSY, **DEAF)
    day.run(2 * HOURS, hand=Hand.STUCK, **DEAF)
    assert day.done() == ["restart", "alert"]
    assert "SIGKILL" in day.verdict.reason


LOST = GpuSight(fault="NVML: GPU is lost")


@pytest.mark.parametrize("phase", ["waits", "starting", "idle", "deaf"])
def test_a_lost_gpu_is_held_for_a_person(phase: str) -> None:
    day = Day() if phase in ("waits", "starting") else Day().working()
    look = {"waits": WAITS, "starting": REFUSED, "idle": {}, "deaf": DEAF}[phase]
    verdict = day.look(**{**look, "gpu": LOST, "age": 0.0})
    assert verdict.word is Word.GPU_FAULT
    assert verdict.hold == "gpu_fault"
    assert verdict.hold_seconds is None
    assert verdict.deed is (Deed.HOLD if phase in ("waits", "starting") else Deed.RESTART)
    day.run(HOURS, **{**WAITS, **new_life(), "gpu": LOST}, hold="gpu_fault", hold_ours=True)
    assert len(day.deeds) == 1
    assert day.word() is Word.GPU_FAULT
    assert not day.state.restarts


def test_a_lost_gpu_does_not_end_what_a_debugger_holds() -> None:
    day = Day().working()
    day.run(60, status="t", gpu=LOST, **DEAF)
    assert day.done() == ["hold", "alert"]
    assert "debugger" in day.verdict.reason


def test_a_lost_gpu_does_not_end_a_job_that_moves() -> None:
    day = Day().working()
    day.run(100, gpu=LOST, each=lambda at: {"progress": 1000 + at}, **runs())
    assert day.done() == ["hold"]
    day.run(400, gpu=LOST, hold="gpu_fault", hold_ours=True, **runs())
    assert day.done() == ["hold", "restart"]
    assert day.verdict.hold == "gpu_fault"


def test_a_driver_that_was_updated_ends_nothing_that_works() -> None:
    gpu = GpuSight(fault="driver/library version mismatch", cause="driver_mismatch")
    day = Day().working()
    day.look(gpu=gpu)
    day.run(HOURS, gpu=gpu, hold="gpu_fault", hold_ours=True)
    assert day.done() == ["hold"]
    assert day.word() is Word.IDLE
    day.run(60, gpu=gpu, hold="gpu_fault", hold_ours=True, **DEAF)
    assert day.verdict.deed is Deed.RESTART
    assert day.verdict.hold == "gpu_fault"


def test_an_error_of_the_driver_alone_does_nothing_and_with_illness_one_restart() -> None:
    """Xid 31."""
    day = Day().working()
    day.run(HOURS, gpu=GpuSight(xids=(31,)))
    day.run(25, gpu=GpuSight(xids=(31,)), **DEAF)
    assert day.done() == []
    day.look(gpu=GpuSight(xids=(31,)), finished=finished("bad", failure=Failure.CUDA))
    assert day.done() == ["restart"]
    assert "Xid 31" in day.verdict.reason
    day.run(HOURS, **new_life(), gpu=GpuSight())
    assert day.done() == ["restart"]


def test_an_occupied_port_is_said_and_costs_nothing() -> None:
    day = Day().working()
    day.run(60, **DEAF)
    held: dict[str, Any] = {"hold": "configuration", "hold_text": "port 8188 is taken by nginx (77)"}
    day.run(HOURS / 2, **{**WAITS, **new_life()}, **held)
    assert day.done() == ["restart", "alert"]
    assert "nginx" in day.verdict.reason
    assert len(day.state.restarts) == 1


def test_a_fault_of_configuration_is_held_once_and_an_operator_may_lift_it() -> None:
    ending = Ending("exited: exit status 2; not expected", "flag_unknown", "it does not know --lowvrm")
    day = Day().working()
    waits = {**WAITS, **new_life(), "ending": ending}
    verdict = day.look(**waits, hold="backoff")
    assert (verdict.deed, verdict.hold, verdict.cause) == (Deed.HOLD, "configuration", "flag_unknown")
    assert "--lowvrm" in verdict.reason
    assert verdict.hold_seconds is None
    day.run(600, **waits, hold="configuration", hold_ours=True, hold_text="it does not know --lowvrm")
    assert day.verdict.cause == "flag_unknown"
    assert day.word() is Word.GAVE_UP
    day.run(2, **waits)
    assert day.done() == ["hold"]
    assert day.word() is Word.STARTING


def test_a_hold_of_ours_is_lifted_once_it_works_and_no_other() -> None:
    day = Day()
    day.run(10, hold="configuration")
    assert day.done() == []
    day.run(40, hold="configuration", hold_ours=True)
    assert day.done() == ["lift"]
    day.run(120, hold="configuration", hold_ours=True)
    assert 2 <= day.done().count("lift") <= 4  # where it had no effect, now and then


@pytest.mark.parametrize("trouble", [DEAF, runs(), {"finished": finished("x", failure=Failure.STICKY)}])
def test_under_maintenance_nothing_is_done(trouble: dict[str, object]) -> None:
    day = Day().working()
    day.run(HOURS, maintenance=True, **trouble)  # type: ignore[arg-type]
    assert day.done() == []
    assert "maintenance" in day.verdict.reason
    assert day.word() is Word.SUSPECT


def test_a_deed_is_given_once_and_thought_over_when_it_had_no_effect() -> None:
    day = Day().working()
    day.run(60, **DEAF)
    day.now += 1
    day.run(8, **DEAF)
    assert day.done() == ["restart"]
    assert day.word() is Word.RESTARTING
    day.run(10, **DEAF)
    assert day.done() == ["restart", "restart"]
    assert len(day.state.restarts) == 1


def test_a_deed_without_effect_is_forgotten_where_it_works_again() -> None:
    day = Day().working()
    day.run(60, **DEAF)
    day.now += 1
    day.run(60)
    assert day.done() == ["restart"]
    assert day.word() is Word.IDLE
    assert not day.state.ended


def test_a_hand_that_takes_for_ever_is_said() -> None:
    day = Day().working()
    day.run(60, **DEAF)
    day.run(600, hand=Hand.BUSY, **DEAF)
    assert day.done() == ["restart", "alert"]


def test_a_job_whose_name_is_not_known_is_said_and_not_ended() -> None:
    day = Day().working()
    day.run(HOURS, queue=2, queue_seen=False)
    assert day.done() == ["alert"]
    assert "can't be told" in day.verdict.reason


def test_deleting_jobs_that_wait_hides_no_stall() -> None:
    day = Day().working()
    day.run(400, each=lambda at: {"queue": 9 - int(at) // 60}, **runs())
    assert day.done()[0] == "interrupt"
    assert day.first <= 1035 + 181


@dataclass
class Crowd:
    """A job each second, without the extension: the queue is looked at as the senses do, and changes at once."""

    day: Day
    read: float = -60.0
    running: str = "job-1"

    def __call__(self, at: float) -> dict[str, Any]:
        rules, state = self.day.rules, self.day.state
        decides = state.interrupted is not None and self.day.now - state.interrupted >= rules.interrupt_wait
        closely = min(rules.interrupt_wait, rules.stall_after / 6)
        pause = 0.0 if decides else closely if self.day.word() in CLOSELY else 6 * rules.probe_every
        fresh = at - self.read >= pause
        self.read = at if fresh else self.read
        return {**runs(self.running, waiting=int(at)), "queue_seen": fresh}


@pytest.mark.parametrize(("rules", "after"), [(Rules(), 180), (FAST_RULES, 30)], ids=["usual", "fast"])
def test_jobs_that_keep_coming_defer_no_stall(rules: Rules, after: float) -> None:
    """The whole restart within half a minute, with ten seconds left for the black box and the signals."""
    day = Day(rules).working()
    began = day.now
    day.run(600, each=Crowd(day))
    assert day.done() == ["interrupt", "restart"]
    assert after + 10 <= took(day, began) <= after + 22


def test_a_job_that_gave_up_unseen_is_not_ended_in_its_successors_place() -> None:
    """Its end was not seen, since its client has deleted it from the history, and others have come since."""
    day = Day().working()
    crowd = Crowd(day)

    def each(at: float) -> dict[str, Any]:
        if day.state.interrupted is not None:
            crowd.running = "job-2"
        return crowd(at)

    day.run(300, each=each)
    assert day.done() == ["interrupt"]
    assert day.state.running == "job-2"


def test_what_is_watched_closely_is_not_taken_to_run_on_once_a_job_has_ended() -> None:
    day = Day().working()
    day.run(120, **runs("a"))
    assert day.word() is Word.SUSPECT
    day.run(400, **{**runs("a", waiting=3), "queue_seen": False}, finished=finished("a"))
    assert day.done() == ["alert"]
    assert "can't be told which one runs" in day.verdict.reason


def test_a_queue_that_is_not_told_any_more_is_said_and_ends_nothing() -> None:
    """Also where its job was known, and stands still."""
    day = Day().working()
    day.run(120, **runs())
    day.run(600, **{**runs(waiting=3), "queue_seen": False})
    assert day.done() == ["alert"]
    assert "can't be told which one runs" in day.verdict.reason


def test_a_queue_that_is_not_told_any_more_spares_the_job_that_would_not_give_up() -> None:
    day = Day().working()
    day.run(182, **runs())
    day.run(600, **{**runs(waiting=3), "queue_seen": False})
    assert day.done() == ["interrupt", "alert"]
    assert "can't be told which one runs" in day.verdict.reason


def test_the_end_of_a_job_is_when_the_next_one_began() -> None:
    """The queue is looked at rarely: another running job is no news where the end of the last one was."""
    day = Day().working()
    day.run(20, **runs("a"))
    day.run(100, **runs("a"), finished=finished("a"))
    began = day.now
    day.run(200, **runs("b"), finished=finished("a"))
    assert day.first - began <= 85


def test_a_job_after_a_pause_began_when_the_pause_ended() -> None:
    """Though the job before the pause was never seen to run, only that it has ended."""
    day = Day().working()
    day.run(10, queue=2, queue_seen=False)
    day.run(200, queue=2, queue_seen=True, finished=finished("a"))
    day.run(85, **runs("b", waiting=1), finished=finished("a"))
    assert day.done() == []
    assert day.word() is Word.BUSY


def test_an_unknown_image_is_no_other_life() -> None:
    day = Day().working()
    day.run(25, **DEAF)
    day.run(30, life=Life("boot", 100, 50.0, 0), **DEAF)
    assert day.done() == ["restart"]
    assert day.verdict.life == Life("boot", 100, 50.0, 7)


def test_a_start_is_given_its_grace_anew_by_a_listener_that_was_away() -> None:
    day = Day()
    day.run(150, age=0.0, **REFUSED)
    day.now += 2 * HOURS
    day.run(300, **REFUSED)
    assert day.done() == []


def test_a_lost_gpu_ends_nothing_of_which_nothing_is_known() -> None:
    day = Day().working()
    day.run(10, **runs())
    day.look(**{**UNASKED, "gpu": LOST})
    assert day.done() == ["hold"]


def test_a_restart_whose_reason_was_lost_with_the_state_is_named_all_the_same() -> None:
    verdict = Day().look(hand=Hand.BUSY, **DEAF)
    assert verdict.word is Word.RESTARTING
    assert verdict.cause == "unknown"
    assert "earlier listener" in verdict.reason


def test_the_state_carries_no_more_than_its_fields() -> None:
    day = Day().working()
    day.run(400, **runs())
    assert set(vars(day.state)) == set(vars(State()))


def test_judging_changes_nothing_that_was_given() -> None:
    before = Day().working().state
    copy = dict(vars(before))
    judge(before, seen(**DEAF), 2000.0, Rules())
    assert vars(before) == copy
