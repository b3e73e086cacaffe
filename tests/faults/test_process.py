"""Faults of the process: stopped, debugged, started anew, stuck; and what an operator does meanwhile."""

from __future__ import annotations

import os
import signal

from tests.faults.patient import Patient, failing, sleeper, traced


def test_a_stopped_process_is_killed_and_runs_again(well: Patient) -> None:
    """Fault 1: R, without asking."""
    pid = well.pid()
    os.kill(pid, signal.SIGSTOP)
    assert well.wait_for_restart(pid, "process_stopped", 15)["deed"] == "kill"


def test_what_somebody_else_killed_is_told_from_what_the_listener_did(well: Patient) -> None:
    """In its log: N, and one sentence."""
    told = "from outside, not by us"
    before = well.log("comfyui-health").count(told)
    pid = well.pid()
    os.kill(pid, signal.SIGSTOP)
    pid = well.wait_for_next_life(pid)
    well.wait_for_word("IDLE")
    assert well.log("comfyui-health").count(told) == before
    os.kill(pid, signal.SIGKILL)
    sentence = f"comfyui: ComfyUI (pid {pid}) was ended by SIGKILL {told}: a kill -9, or the kernel"
    well.wait_for(lambda: sentence in well.log("comfyui-health"), 20, "the log tells of it")
    well.wait_for_word("IDLE")
    assert well.log("comfyui-health").count(told) == before + 1
    assert len(well.restarts()) == 1


def test_what_is_stopped_for_a_moment_is_left_alone(well: Patient) -> None:
    """N: ``kill -STOP`` and ``-CONT`` within ``health.frozen``, again and again."""
    pid = well.pid()
    for _ in range(5):
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
        well.stays(0.3)
    assert not well.restarts()


def test_a_debugger_may_hold_it_as_long_as_it_likes(well: Patient) -> None:
    """N and A."""
    pid = well.pid()
    with traced(pid, "stop"):
        well.wait_for_alert("process_stopped", deadline=15)
        well.stays(4.0)
    well.wait_for_word("IDLE")
    assert well.info().pid == pid
    assert not well.restarts()


def test_a_restart_within_the_process_is_a_new_start_up(well: Patient) -> None:
    """ComfyUI-Manager's restart keeps the pid. Fault 33: what was held against the life before is dropped. N."""
    pid = well.pid()
    well.order("hold_answers")
    well.wait_for_word("SUSPECT")
    well.order("reexec")
    well.wait_for_word("IDLE")
    well.stays(1.0)
    assert well.info().pid == pid
    words = [decision["verdict"]["word"] for decision in well.decisions()]
    assert words == ["SUSPECT", "STARTING", "IDLE"]


def test_what_is_stopped_by_an_operator_while_it_is_suspect_stays_so(well: Patient) -> None:
    """Fault 32."""
    well.order("hold_answers")
    well.wait_for_word("SUSPECT")
    well.ok("stop")
    well.wait_for_word("STOPPED")
    well.stays(3.5)
    assert well.info().pid == 0
    well.ok("start")
    well.wait_for_word("IDLE")
    assert not well.restarts()


def test_what_is_stopped_by_an_operator_in_the_midst_of_our_restart_stays_so(well: Patient) -> None:
    """Fault 32, a moment later: it does not hear our SIGINT, nor the operator's."""
    well.order("ignore_sigint")
    well.order("cuda_poisoned")
    well.submit(failing("cuda_poisoned"))
    well.wait_for_word("RESTARTING", deadline=15)
    well.ok("stop")
    well.wait_for_word("STOPPED")
    well.stays(2.0)
    assert well.info().pid == 0
    well.ok("start")
    well.wait_for_word("IDLE")


def test_a_crash_is_supervisords_to_mend(well: Patient) -> None:
    """No deed of ours; one death is counted, and the next life works."""
    pid = well.pid()
    well.order("crash", how="abort")
    well.wait_for_next_life(pid, deadline=15)
    well.wait_for(lambda: len(well.health()["restarts"]) == 1, 15)
    well.wait_for(well.is_well, 60)
    well.finished(well.submit(sleeper(1)))
    assert not well.restarts()
