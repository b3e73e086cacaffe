"""What an operator does to a watched service, and what an operator is told of it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from comfy_supervisor import status
from comfy_supervisor.health import ledger, orders
from comfy_supervisor.health.hand import LISTENER
from comfy_supervisor.launch import holds
from tests.faults.patient import Patient
from tests.support import wait_until

CRASHING = {"budget": 1, "retry_after": 4, "window": 600}
"""Few deaths are enough, so that a test sees all that follows from them."""
SLOWLY = {"first_delay": 4, "longest_delay": 8}
"""Waits between two starts that last longer than it takes to look again."""


@pytest.fixture
def crashing(patient: Patient) -> Patient:
    """Give a patient that dies soon after each start, and has been given up."""
    patient.startable(restart=CRASHING)
    patient.up()
    patient.start_fault("end_after:0.5")
    os.kill(patient.pid(), signal.SIGKILL)
    patient.wait_for_word("GAVE_UP")
    return patient


def test_deaths_that_no_look_sees_are_counted(patient: Patient) -> None:
    """Fault 30, of a ComfyUI that dies in its first moments: GAVE_UP all the same."""
    patient.startable(restart={**CRASHING, "budget": 2, **SLOWLY}, health={"probe_every": 2.0})
    patient.up()
    patient.start_fault("end:1")
    os.kill(patient.pid(), signal.SIGKILL)
    patient.wait_for_word("GAVE_UP", deadline=40)
    assert len(patient.health()["restarts"]) == 3


class TestCrashLoop:
    """Fault 30: backoff, then GAVE_UP with a try now and then; and how an operator gets out of it."""

    def test_tries_now_and_then_until_the_cause_is_gone(self, crashing: Patient) -> None:
        held = crashing.pid()
        crashing.stays(1.0)
        lives = crashing.log().count("waiting (gave_up)")
        crashing.wait_for(lambda: crashing.log().count("waiting (gave_up)") > lives, what="one more try, in vain")
        assert crashing.info().pid != held
        crashing.start_fault("")
        crashing.wait_for_word("IDLE")

    @pytest.mark.parametrize("way", ["reset", "supervisorctl restart"])
    def test_a_fresh_start(self, crashing: Patient, way: str) -> None:
        """All that was counted is forgiven: the next death is the first one."""
        (row,) = crashing.status()
        assert row["state"] == "HELD"
        assert "2 deaths and restarts within 10 min" in row["text"]
        crashing.start_fault("")
        if way == "reset":
            crashing.ok("reset")
        else:
            assert crashing.supervisorctl("restart", "comfyui").returncode == 0
        crashing.wait_for_word("IDLE", deadline=20)
        wait_until(lambda: crashing.health()["restarts"] == [], 20)
        os.kill(crashing.pid(), signal.SIGKILL)
        wait_until(lambda: len(crashing.health()["restarts"]) == 1, 30)
        crashing.wait_for_word("IDLE")

    def test_stopped_while_given_up_it_stays_stopped(self, crashing: Patient) -> None:
        """The word is law also past the time of the next try; a start is a fresh one."""
        crashing.ok("stop")
        crashing.wait_for_word("STOPPED")
        crashing.start_fault("")
        until = CRASHING["retry_after"] + 2.0
        crashing.stays(until)
        assert crashing.info().statename == "STOPPED"
        crashing.ok("start")
        crashing.wait_for_word("IDLE")
        assert crashing.health()["restarts"] == []


def test_restarted_while_it_waits_for_its_next_start(patient: Patient) -> None:
    """``supervisorctl restart`` during a backoff starts it at once, and nothing is counted any more."""
    patient.startable(restart={"first_delay": 300, "longest_delay": 300})
    patient.up()
    patient.start_fault("end_after:0.5")
    os.kill(patient.pid(), signal.SIGKILL)
    patient.wait_for_word("BACKOFF")
    patient.wait_for(lambda: "waiting (backoff)" in patient.log(), what="the launcher waits")
    patient.start_fault("")
    assert patient.supervisorctl("restart", "comfyui").returncode == 0
    patient.wait_for_word("IDLE", deadline=20)
    wait_until(lambda: patient.health()["restarts"] == [], 20)


class TestMisconfigured:
    """Faults of the configuration: held with an explanation, never tried again and again."""

    def test_a_command_line_that_it_refuses(self, patient: Patient) -> None:
        """Whether argparse says so or the exit status alone; as soon as it is mended, a start is enough."""
        patient.startable()
        for count, fault in enumerate(["no-such-fault", "end:2"], 1):
            patient.start_fault(fault)
            assert patient.run(*(["up", "-d"] if count == 1 else ["restart"])).returncode == 2 - count
            patient.wait_for_word("GAVE_UP")
            patient.wait_for(lambda count=count: patient.log().count("waiting (configuration)") == count, what="held")  # type: ignore[misc]
            patient.stays(2.5)
            (row,) = patient.status()
            assert row["state"] == "HELD"
            assert ["main.py: error: ", "exit status 2"][count - 1] in row["text"]
            patient.start_fault("")
            patient.ok("start")
            patient.wait_for_word("IDLE")
        assert patient.restarts() == []

    def test_a_port_that_another_holds(self, well: Patient) -> None:
        well.ok("stop")
        with socket.create_server(("127.0.0.1", well.port)):
            well.supervisorctl("start", "comfyui")
            well.wait_for_word("GAVE_UP")
            well.stays(2.5)
            assert str(well.port) in well.status()[0]["text"]
        well.wait_for_word("IDLE")
        assert well.restarts() == []


def test_maintenance(well: Patient) -> None:
    """Nothing is done while it is on, and all is said; what is still wrong afterwards is seen to then."""
    pid = well.pid()
    assert "left alone" in well.ok("maintenance", "on")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: "(maintenance: nothing is done)" in well.health()["reason"], 30, well.story())
    well.stays(2.0)
    assert "(maintenance)" in well.ok("status")
    assert well.status()[0]["health"]["maintenance"] is True
    assert well.ok("maintenance", "off", "comfyui") == "comfyui: watched over again\n"
    well.wait_for_next_life(pid)
    well.wait_for_word("IDLE")
    assert len(well.restarts()) == 1
    log = well.log("comfyui-health")
    assert log.count("comfyui: maintenance begins") == 1
    assert log.count("comfyui: maintenance has ended") == 1


def test_new_settings_are_taken_over_by_the_running_listener(patient: Patient) -> None:
    """``apply`` with other numbers restarts nothing, and the next decision goes by them."""
    patient.settings(health={"frozen": 300.0})
    patient.up()
    pid, listener = patient.info().pid, patient.listener()
    os.kill(pid, signal.SIGSTOP)
    patient.wait_for_word("SUSPECT")
    patient.stays(2.0)
    patient.settings(health={"frozen": 1.5})
    assert "new limits for the health listener" in patient.ok("apply", "--dry-run")
    said = patient.ok("apply")
    assert "health.json" in said
    assert "nothing has changed" not in said
    patient.wait_for_next_life(pid)
    patient.wait_for_word("IDLE")
    assert patient.listener() == listener
    assert len(patient.restarts()) == 1
    assert patient.decisions()[-1]["rules"]["frozen"] == 1.5


def test_what_happened_while_the_listener_was_away(patient: Patient) -> None:
    """An operator's restart is forgiven, a death is counted, and meanwhile ``status`` says that nobody watches."""
    patient.up()
    assert patient.supervisorctl("stop", "comfyui-health").returncode == 0
    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr(status, "UNSEEN", 0.0)
        away = patient.run("status", "--exit-code")
        assert away.returncode == 1
        assert "unwatched" in away.stdout
        assert "nobody watches its health" in away.stdout
        assert (patient.status()[0]["watched"], patient.status()[0]["health"]) == (False, None)
    assert patient.supervisorctl("restart", "comfyui").returncode == 0
    patient.wait_for_api()
    assert patient.supervisorctl("start", "comfyui-health").returncode == 0
    patient.wait_for(lambda: patient.health()["pid"] == patient.info().pid, what="the listener's word on the new life")
    assert patient.health()["restarts"] == []
    patient.wait_for_word("IDLE")
    assert patient.supervisorctl("stop", "comfyui-health").returncode == 0
    pid = patient.pid()
    os.kill(pid, signal.SIGKILL)
    patient.wait_for_next_life(pid)
    assert patient.supervisorctl("start", "comfyui-health").returncode == 0
    patient.wait_for(lambda: len(patient.health()["restarts"]) == 1, what="the death that nobody saw")


def test_a_reset_takes_down_what_the_hand_put_up_meanwhile(well: Patient) -> None:
    """Also where nothing else may be done: else it would be as if the order had never been given."""
    run = str(well.state / "run" / "cpu")
    well.ok("maintenance", "on")
    wait_until(lambda: well.health()["maintenance"], 30, well.story())
    holds.write(run, holds.Hold(holds.GAVE_UP, "of a moment ago", time.time(), by=LISTENER))
    orders.reset(run, time.time())
    wait_until(lambda: holds.read(run) is None, 30, well.story())
    well.ok("maintenance", "off")


def test_a_process_that_ends_under_the_hand(well: Patient) -> None:
    """Fault 28: what is gone already is not signalled, its successor neither; twice started is started once."""
    pid = well.pid()
    well.order("ignore_sigint")
    well.order("hold_answers")
    wait_until((well.state / "cpu" / "intent.json").exists, 30)
    os.kill(pid, signal.SIGKILL)
    after = well.wait_for_next_life(pid)
    well.wait_for_word("IDLE")
    assert "runs already" in well.ok("start")
    well.stays(2.5)
    assert well.info().pid == after
    well.ok("stop")
    well.ok("stop")
    well.wait_for_word("STOPPED")
    assert len(well.restarts()) == 1


def test_folder_of_the_logs(patient: Patient) -> None:
    """Fault 20: made where it is missing; refused where it can't be made."""
    logs = patient.folder / "deep" / "logs"
    (patient.folder / "file").touch()
    patient.settings(paths={"logs": str(patient.folder / "file" / "logs")})
    assert "logs" in patient.refused("up", "-d")
    patient.settings(paths={"logs": str(logs)})
    patient.up()
    patient.ok("down")
    shutil.rmtree(logs.parent)
    patient.up()
    assert (logs / "comfyui.log").exists()


def test_folder_of_the_logs_deleted_under_a_running_service(patient: Patient) -> None:
    """Fault 20: supervisord starts nothing without it, so it is made again."""
    patient.up()
    pid = patient.pid()
    shutil.rmtree(patient.state / "logs")
    os.kill(pid, signal.SIGKILL)
    patient.wait_for_next_life(pid, deadline=20)
    patient.wait_for_word("IDLE")
    assert (patient.state / "logs" / "comfyui.log").exists()
    assert patient.restarts() == []


class TestWhatIsTold:
    """``status``, ``watch`` and ``audit`` of one service, first well, then ill."""

    def test_in_sickness_and_in_health(self, well: Patient) -> None:
        live = well.start("watch")
        live.wait_for("comfyui RUNNING IDLE")
        assert "idle" in well.ok("status", "--exit-code")
        os.kill(well.pid(), signal.SIGSTOP)
        well.ok("maintenance", "on")
        well.wait_for_word("SUSPECT")
        ill = well.run("status", "--exit-code")
        assert ill.returncode == 1
        assert "process_stopped: a signal stopped the process" in ill.stdout
        (row,) = well.status()
        assert {key: row["health"][key] for key in ("word", "cause", "budget")} == {
            "word": "SUSPECT",
            "cause": "process_stopped",
            "budget": 5,
        }
        live.wait_for("comfyui RUNNING SUSPECT: a signal stopped the process")
        os.kill(well.pid(), signal.SIGCONT)
        well.ok("maintenance", "off")
        well.wait_for_word("IDLE")
        live.wait_for_count("comfyui RUNNING IDLE", 2)
        live.interrupt()
        assert live.end() == 130

    def test_on_a_terminal(self, well: Patient) -> None:
        """A table that lives, with the reason below it, until Ctrl-C."""
        ours, theirs = pty.openpty()
        command = [str(well.python), "-m", "comfy_supervisor", "watch"]
        environ = {**well.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
        seen = b""
        with subprocess.Popen(
            command, cwd=well.folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        ) as live:
            os.close(theirs)
            while b"works, and has no job" not in seen:
                seen += os.read(ours, 65536)
            live.send_signal(signal.SIGINT)
            assert live.wait(20) == 130
        os.close(ours)
        assert b"comfyui: IDLE for" in seen

    def test_audit(self, well: Patient, tmp_path: Path) -> None:
        """The policy agrees with its own record, not with one that was tampered with, and says what is no record."""
        file = well.state / "cpu" / ledger.DECISIONS
        assert well.ok("audit", str(file)).endswith("decisions, none of them different today\n")
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        lines[-1]["verdict"]["deed"] = "restart"
        tampered = tmp_path / "tampered.jsonl"
        tampered.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        done = well.run("audit", str(tampered))
        assert done.returncode == 1
        assert f"{len(lines)}: " in done.stdout
        assert done.stdout.endswith(f"{len(lines)} decisions, 1 of them different today\n")
        assert f"{well.file}:1: " in well.refused("audit", str(well.file))
        assert "No such file" in well.refused("audit", str(tmp_path / "nothing"))
