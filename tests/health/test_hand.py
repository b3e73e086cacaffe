"""Restarts under a real supervisord: one life ended, the next one started, and nothing left down."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from comfy_supervisor import rpc
from comfy_supervisor.health import hand, intent
from comfy_supervisor.health.hand import Restarter
from comfy_supervisor.health.intent import Intent
from comfy_supervisor.health.policy.evidence import Deed, Hand, Life, Verdict, Word
from comfy_supervisor.health.watched import Watched
from comfy_supervisor.launch import holds
from tests.supervisord import Supervisord
from tests.support import is_running, wait_until

BOOT = "this boot"
OBEYS = "exec sleep 1000"
DEAF = "trap '' INT; sleep 1000 & wait; sleep 1000"


class Patient:
    """A program under supervisord, and the hand that restarts it."""

    def __init__(self, supervisord: Supervisord, folder: Path, script: str, stop_seconds: float = 1.0) -> None:
        """Start the program, a shell script."""
        for name in ("state", "run"):
            (folder / name).mkdir()
        self.said: list[str] = []
        self.supervisord = supervisord
        self.watched = Watched(
            "comfyui",
            "cpu",
            "http://127.0.0.1:1",
            1,
            str(folder / "state"),
            str(folder / "run"),
            "/dev/null",
            "",
            stop_seconds,
        )
        file = folder / "program.sh"
        file.write_text(script)
        supervisord.start(
            f"[program:comfyui]\ncommand=/bin/sh {file}\nstartsecs=0\nautorestart=true\nstopsignal=KILL\n"
        )
        wait_until(lambda: self.process().cmdline()[:1] in (["/bin/sh"], ["sleep"]), what="its exec")
        self.hand = self.make_hand()

    def make_hand(self, url: str = "") -> Restarter:
        """Return a hand, as a listener's next life has one."""
        supervisor = rpc.Supervisor(url or self.supervisord.url, timeout=0.5)
        return Restarter(self.watched, supervisor, BOOT, _goes_on, self.said.append)

    def process(self) -> psutil.Process:
        """Return the program's process."""
        wait_until(lambda: self.supervisord.info().pid)
        return psutil.Process(self.supervisord.pid())

    def life(self) -> Life:
        """Return the life that runs now."""
        process = self.process()
        return Life(BOOT, process.pid, process.create_time())

    def wait_for_next(self, life: Life) -> Life:
        """Wait until the life after this one runs."""
        wait_until(lambda: self.supervisord.info().pid not in {0, life.pid}, what=str(self.said))
        return self.life()

    def wait_until_idle(self) -> None:
        """Wait until the hand has done what it had to."""
        wait_until(lambda: self.hand.state is Hand.IDLE, what=str(self.said))


def _goes_on(life: Life) -> bool:
    try:
        process = psutil.Process(life.pid)
        return process.create_time() == life.started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def patient(supervisord: Supervisord, tmp_path: Path) -> Patient:
    """Give a program that ends when it is asked to."""
    return Patient(supervisord, tmp_path, OBEYS)


def _restart(life: Life, **details: object) -> Verdict:
    return Verdict(Word.RESTARTING, Deed.RESTART, "stalled", "for a test", life, **details)  # type: ignore[arg-type]


def test_it_is_asked_to_end_and_runs_again(patient: Patient) -> None:
    life = patient.life()
    patient.hand.carry_out(_restart(life))
    patient.wait_for_next(life)
    patient.wait_until_idle()
    assert "terminated by SIGINT" in patient.supervisord.log_text()
    assert not Path(intent.path(patient.watched.state)).exists()


def test_who_does_not_listen_is_killed(supervisord: Supervisord, tmp_path: Path) -> None:
    patient = Patient(supervisord, tmp_path, DEAF)
    wait_until(lambda: patient.process().children(), what="the trap is set")
    life = patient.life()
    patient.hand.carry_out(_restart(life))
    wait_until(lambda: (found := intent.read(patient.watched.state, BOOT)) and found.step == "asked")
    patient.wait_for_next(life)
    assert "terminated by SIGKILL" in supervisord.log_text()


def test_who_is_stopped_by_a_signal_is_killed_at_once(patient: Patient) -> None:
    life = patient.life()
    os.kill(life.pid, signal.SIGSTOP)
    patient.hand.carry_out(Verdict(Word.RESTARTING, Deed.KILL, "process_stopped", "for a test", life))
    patient.wait_for_next(life)
    assert "terminated by SIGKILL" in patient.supervisord.log_text()


def test_a_second_hand_waits_for_the_first(supervisord: Supervisord, tmp_path: Path) -> None:
    """As when the settings change in the middle of a restart: what the first one has begun is its own."""
    patient = Patient(supervisord, tmp_path, DEAF, stop_seconds=3.0)
    wait_until(lambda: patient.process().children(), what="the trap is set")
    life = patient.life()
    patient.hand.carry_out(_restart(life))
    wait_until(lambda: intent.read(patient.watched.state, BOOT))
    second = patient.make_hand()
    second.follow(patient.hand)
    second.resume()
    second.carry_out(_restart(life))
    assert (second.state, second._thread) == (Hand.BUSY, None)
    patient.wait_for_next(life)
    wait_until(lambda: second.state is Hand.IDLE)
    assert not [line for line in patient.said if "earlier listener" in line]


def test_what_is_meant_to_end_is_written_down_with_its_cause(supervisord: Supervisord, tmp_path: Path) -> None:
    patient = Patient(supervisord, tmp_path, DEAF, stop_seconds=3.0)
    life = patient.life()
    patient.hand.carry_out(_restart(life, hold="gpu_fault"))
    found = wait_until(lambda: intent.read(patient.watched.state, BOOT))
    assert found
    assert (found.cause, found.word, found.deed, found.hold) == ("stalled", "RESTARTING", "restart", "gpu_fault")


def test_a_hold_is_up_before_the_life_ends(patient: Patient) -> None:
    life = patient.life()
    patient.hand.carry_out(_restart(life, hold="gave_up", hold_seconds=900.0))
    hold = holds.read(patient.watched.run)
    assert hold
    assert (hold.reason, hold.text, hold.by) == ("gave_up", "for a test", hand.LISTENER)
    assert hold.until == hold.since + 900
    patient.wait_for_next(life)
    patient.hand.lift()
    assert holds.read(patient.watched.run) is None


def test_somebody_elses_hold_is_not_lifted(patient: Patient) -> None:
    holds.write(patient.watched.run, holds.Hold(holds.MAINTENANCE, "a person's", time.time()))
    patient.hand.lift()
    assert holds.read(patient.watched.run)


def test_what_an_operator_stopped_is_neither_touched_nor_started(patient: Patient) -> None:
    life = patient.life()
    patient.supervisord.rpc.stop("comfyui")
    patient.hand.carry_out(_restart(life))
    patient.wait_until_idle()
    assert patient.supervisord.info().statename == "STOPPED"


def test_another_life_is_not_touched(patient: Patient) -> None:
    life = patient.life()
    patient.hand.carry_out(_restart(Life(BOOT, life.pid, life.started - 1)))
    patient.wait_until_idle()
    assert patient.life() == life


@pytest.mark.parametrize("step", ["decided", "asked", "killed"])
def test_a_listener_that_died_in_between_is_taken_over_from(
    supervisord: Supervisord, tmp_path: Path, step: str
) -> None:
    patient = Patient(supervisord, tmp_path, DEAF)
    wait_until(lambda: patient.process().children(), what="the trap is set")
    life = patient.life()
    intent.write(patient.watched.state, Intent("restart", life, BOOT, time.monotonic(), step))
    patient.hand.resume()
    patient.wait_for_next(life)
    patient.wait_until_idle()
    assert not Path(intent.path(patient.watched.state)).exists()


def test_who_was_asked_already_has_the_rest_of_its_time(supervisord: Supervisord, tmp_path: Path) -> None:
    patient = Patient(supervisord, tmp_path, DEAF, stop_seconds=1000.0)
    life = patient.life()
    intent.write(patient.watched.state, Intent("restart", life, BOOT, time.monotonic(), "asked"))
    patient.hand.resume()
    time.sleep(0.5)
    assert patient.life() == life
    assert patient.hand.state is Hand.BUSY


def test_who_could_not_be_asked_is_not_killed(patient: Patient) -> None:
    life = patient.life()
    patient.hand.carry_out(_restart(life))
    silent = Restarter(patient.watched, rpc.Supervisor("unix:///nowhere"), BOOT, _goes_on, patient.said.append)
    patient.wait_for_next(life)
    life = patient.life()
    silent.carry_out(_restart(life))
    wait_until(lambda: silent.state is Hand.IDLE, what=str(patient.said))
    assert patient.life() == life
    assert intent.read(patient.watched.state, BOOT) is None


def test_a_supervisord_that_comes_back_too_late_for_the_question_kills_nobody(patient: Patient) -> None:
    """What was seen is old by then; whoever is still ill is judged anew."""
    life = patient.life()
    assert patient.supervisord.process
    patient.supervisord.process.send_signal(signal.SIGSTOP)
    try:
        patient.hand.carry_out(_restart(life))
        wait_until(lambda: sum("SIGINT could not be sent" in line for line in patient.said) == hand.TRIES)
    finally:
        patient.supervisord.process.send_signal(signal.SIGCONT)
    patient.wait_until_idle()
    assert patient.life() == life


def test_what_it_started_is_killed_with_it(supervisord: Supervisord, tmp_path: Path) -> None:
    patient = Patient(supervisord, tmp_path, DEAF)
    wait_until(lambda: patient.process().children(), what="the trap is set")
    (child,), life = patient.process().children(), patient.life()
    patient.hand.carry_out(Verdict(Word.RESTARTING, Deed.KILL, "process_stopped", "for a test", life))
    patient.wait_for_next(life)
    wait_until(lambda: not is_running(child.pid))


@pytest.mark.parametrize("boot", [BOOT, "an earlier boot"])
def test_an_intent_for_a_life_that_is_over_is_forgotten(patient: Patient, boot: str) -> None:
    life = patient.life()
    intent.write(patient.watched.state, Intent("restart", Life(boot, life.pid, 1.0), boot, time.monotonic()))
    patient.hand.resume()
    patient.wait_until_idle()
    assert patient.life() == life


def test_a_supervisord_that_does_not_answer_costs_time_and_nothing_else(patient: Patient) -> None:
    life = patient.life()
    assert patient.supervisord.process
    patient.supervisord.process.send_signal(signal.SIGSTOP)
    try:
        patient.hand.carry_out(_restart(life))
        wait_until(lambda: any("could not be sent" in line for line in patient.said))
        assert is_running(life.pid)
    finally:
        patient.supervisord.process.send_signal(signal.SIGCONT)
    patient.wait_for_next(life)


def test_one_thing_at_a_time(supervisord: Supervisord, tmp_path: Path) -> None:
    patient = Patient(supervisord, tmp_path, DEAF)
    wait_until(lambda: patient.process().children(), what="the trap is set")
    life = patient.life()
    patient.hand.carry_out(_restart(life))
    patient.hand.carry_out(Verdict(Word.RESTARTING, Deed.KILL, "process_stopped", "again", life))
    found = intent.read(patient.watched.state, BOOT)
    assert found is None or found.action == "restart"
    patient.wait_for_next(life)
