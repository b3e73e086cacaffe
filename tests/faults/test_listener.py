"""The listener itself: killed, stopped, deaf, cut off, without a disk, with a mad clock."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.faults.patient import MAIN_PROGRAM, Patient, sleeper
from tests.faults.test_incidents import incidents
from tests.faults.trials import falls_ill_and_is_restarted, reconfigure, stopped, supervisords_log
from tests.nvml import Nvml
from tests.support import wait_until

DAY = 86400
UNSEEN = 6.0
"""Seconds: longer than the gap after which nothing that was unseen counts, as it is scaled down here."""


def test_its_own_crash(well: Patient) -> None:
    """Its end touches no ComfyUI, supervisord starts it again, and it remembers what it had counted."""
    pid = falls_ill_and_is_restarted(well)
    counted = well.health()["restarts"]
    listener, lives = well.listener(), well.log("comfyui-health").count("watching comfyui")
    listener.kill()
    well.wait_for_next_life(listener.pid, "comfyui-health")
    well.wait_for(lambda: well.log("comfyui-health").count("watching comfyui") > lives, what="it watches again")
    well.stays(2.0)
    assert well.info().pid == pid
    assert well.health()["restarts"] == pytest.approx(counted, abs=0.1)
    assert len(well.restarts()) == 1


KILLED = """
    import os, signal
    from comfy_supervisor import rpc
    from comfy_supervisor.health import hand, intent, ledger

    def dies(step, owner, name, when=lambda *_: True, *, first=False):
        real, mark = getattr(owner, name), f"{FOLDER}/{step}"
        def do(*arguments):
            due = when(*arguments) and not os.path.exists(mark)
            if due and first:
                die(mark)
            done = real(*arguments)
            if due:
                die(mark)
            return done
        setattr(owner, name, do)

    def die(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)

    def ends(_, decision):
        return decision.verdict.deed.value in ("restart", "kill")

    dies("5 process gone", intent, "clear", first=True)
    dies("4 signal sent", rpc.Supervisor, "signal")
    dies("3 intent written", intent, "write")
    dies("2 state written", hand.Restarter, "carry_out", first=True)
    dies("1 decision written", ledger.Ledger, "enter", ends)
    dies("0 decided", ledger.Ledger, "enter", ends, first=True)
"""


def test_killed_at_each_step_of_a_restart(patient: Patient) -> None:
    """Fault 23: R, once; each listener goes on where the one before was killed, between any two steps of it."""
    marks = patient.folder / "marks"
    marks.mkdir()
    patient.inject("pass")
    patient.up()
    patient.inject(f"FOLDER = {str(marks)!r}\n{textwrap.dedent(KILLED)}")
    reconfigure(patient, "startsecs=5", "startsecs=0")  # else each start after such a death is put off for longer
    patient.wait_for_word("IDLE")
    began = supervisords_log(patient).count("spawned: 'comfyui-health' with")
    pid = falls_ill_and_is_restarted(patient)
    wait_until(lambda: len(list(marks.iterdir())) == 6, 60, f"{list(marks.iterdir())}\n{patient.story()}")
    patient.wait_for(
        lambda: supervisords_log(patient).count("spawned: 'comfyui-health' with") == began + 6, what="the last"
    )
    patient.stays(2.0)
    assert patient.info().pid == pid
    assert len(patient.health()["restarts"]) == 1, patient.story()
    assert supervisords_log(patient).count("spawned: 'comfyui' with") == 2
    assert not (patient.state / "cpu" / "intent.json").exists()
    patient.wait_for(lambda: incidents(patient), what="a page on it, by whoever came to that")
    (page,) = incidents(patient)
    assert (page["kind"], page["cause"]) == ("restart", patient.restarts()[0]["cause"])
    patient.wait_for(lambda: "it answers again" in str(incidents(patient)[0]["steps"]), what="how it went on")


def test_stopped_for_long_while_a_job_runs(patient: Patient) -> None:
    """Fault 18: N; what it did not see is held against nobody, however still the job was in that time."""
    patient.inject(f"from comfy_supervisor.health.policy import memory\nmemory.LONGEST_GAP = {UNSEEN / 2}")
    patient.settings(stall={"after": 6.5})
    patient.up()
    job = patient.submit(sleeper(UNSEEN + 3, silent=True))
    patient.wait_for_word("BUSY")
    pid = patient.pid()
    with stopped(patient.listener().pid):
        time.sleep(UNSEEN)
    assert patient.finished(job)["status"]["status_str"] == "success"
    patient.wait_for_word("IDLE")
    assert patient.info().pid == pid
    assert patient.deeds("restart", "kill", "interrupt") == []


CLOCK = """
    import sys, time
    real, told = time.time, set()
    def mad():
        days = int(time.monotonic() / 1.5) % 3 - 1
        if days not in told:
            told.add(days)
            print("the clock is off by", days, "days", file=sys.stderr)
        return real() + days * 86400
    time.time = mad
    print("a mad clock", file=sys.stderr)
"""
"""A day forth and back each second and a half, at the same moments in each process."""


def test_a_wall_clock_that_jumps_by_days(patient: Patient) -> None:
    """Fault 17: N for a job that moves and for one that is stalled less than its time; R as ever for a real fault.

    The machine's own clock is left alone: those of the listener, of supervisord and of the launcher are made to jump
    all the while.
    """
    patient.settings(stall={"after": 6.0})
    patient.inject(CLOCK, MAIN_PROGRAM, "supervisor.supervisord", "comfy_supervisor.launch")
    patient.up()
    pid = patient.pid()
    began = time.monotonic()
    job = patient.submit(sleeper(4.0, silent=True))
    assert patient.finished(job)["status"]["status_str"] == "success"
    patient.stays(2.0)
    assert patient.info().pid == pid
    assert patient.deeds("restart", "kill", "interrupt", "alert") == []
    assert patient.log("comfyui-health").count("the clock is off by") == 3
    assert "a mad clock" in patient.log(), "the launcher's"
    wait_until(lambda: abs(patient.info().now - time.time()) > DAY / 2, 10, "supervisord's")
    assert len(patient.decisions()) < 10 + (time.monotonic() - began), "a storm"
    after = falls_ill_and_is_restarted(patient)
    os.kill(after, signal.SIGKILL)
    patient.wait_for_next_life(after)
    patient.wait_for(patient.is_well, what="well again")
    assert len(patient.health()["restarts"]) == 2


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Give a folder on a disk of a megabyte."""
    folder = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        Path(folder).rmdir()
        pytest.skip("needs to mount a small disk, which only root may, and not in every container")
    yield Path(folder)
    subprocess.run(["umount", folder], check=True)
    Path(folder).rmdir()


def fill(disk: Path) -> Path:
    """Leave no byte on a disk; return the file that takes it all."""
    with (disk / "fill").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1000))
    return disk / "fill"


def test_a_full_disk(small_disk: Path, patient: Patient) -> None:
    """Fault 19: R as ever, and the trouble is said; once there is room again, all is written again, in whole lines."""
    patient.state, patient.conf = small_disk, small_disk / "supervisord.conf"
    patient.settings(paths={"state": str(small_disk), "logs": str(patient.folder / "logs")})
    patient.up()
    ballast = fill(small_disk)
    pid = patient.pid()
    os.kill(pid, signal.SIGSTOP)
    after = patient.wait_for_next_life(pid)
    patient.wait_for(patient.answers, what="ComfyUI answers again")
    log = patient.folder / "logs" / "comfyui-health.log"
    wait_until(lambda: "No space left on device" in log.read_text(), 30)
    ballast.unlink()
    patient.wait_for(lambda: patient.health()["pid"] == after, what="the new process is told of")
    falls_ill_and_is_restarted(patient)
    assert patient.restarts()


def test_the_end_of_its_input(fleet: Patient, nvml: Nvml) -> None:
    """Fault 24: it ends within a second, also amid a question that nobody answers, and leaves no process behind."""
    nvml.cards(["NVIDIA GeForce RTX 4090"])
    fleet.settings(gpu={"devices": "all"}, health={"deadline": 30.0})
    fleet.up("gpu0")
    assert fleet.supervisorctl("stop", "comfyui-health").returncode == 0
    fleet.order("hold_answers")
    assert min(seconds_to_end(fleet) for _ in range(3)) < 1.0, "of three, since the machine may be busy"


def seconds_to_end(patient: Patient) -> float:
    """Start the listener's main program, as supervisord does, and close its input while it waits for an answer."""
    command = [str(patient.python), "-m", MAIN_PROGRAM, str(patient.state / "health.json")]
    environ = {**patient.environ, "SUPERVISOR_SERVER_URL": patient.rpc.url}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environ, cwd="/") as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.read(6) == b"READY\n"
        listener = psutil.Process(process.pid)
        wait_until(lambda: any(each.raddr for each in listener.net_connections("tcp")), 30, "it asks ComfyUI")
        (helper,) = wait_until(listener.children, 30, "the process that watches the GPUs")
        began = time.monotonic()
        process.stdin.close()
        assert process.wait(30) == 0
        took = time.monotonic() - began
        assert process.stdout.read() == b""
    wait_until(lambda: not helper.is_running(), 30, "its helper is gone, too")
    return took
