"""The listener and supervisord: the protocol between them, and a supervisord that is in trouble itself."""

from __future__ import annotations

import os
import signal
import time

from tests.faults.patient import Patient
from tests.faults.trials import falls_ill_and_is_restarted, reconfigure, stopped, supervisords_log
from tests.support import is_running, wait_until

PRINTS = """
    import os, requests
    real = requests.adapters.HTTPAdapter.send
    def send(*arguments, **options):
        print("a library prints")
        os.write(1, b"and so does its C code\\n")
        return real(*arguments, **options)
    requests.adapters.HTTPAdapter.send = send
"""


def test_a_library_that_prints(patient: Patient) -> None:
    """Fault 25: the protocol is intact; an operator's word is heard at once, not at the next look."""
    patient.settings(health={"probe_every": 60.0})
    patient.inject(PRINTS)
    patient.up()
    assert "and so does its C code" in patient.log("comfyui-health")
    for _ in range(2):
        patient.ok("stop")
        patient.wait_for_word("STOPPED", deadline=20)
        patient.ok("start")
        wait_until(lambda: patient.word() != "STOPPED", 20, patient.story())


NOISE = """
[program:noise]
command=/bin/true
startsecs=0
autorestart=true
numprocs=4
process_name=%(process_num)d
"""


def test_a_flood_of_events(patient: Patient) -> None:
    """Fault 26: with events lost by the hundred, a death that was among them and a fault after it are noticed."""
    patient.up()
    reconfigure(patient, "buffer_size=1000", "buffer_size=3", NOISE)
    pid = patient.pid()
    with stopped(patient.listener().pid):
        os.kill(pid, signal.SIGKILL)
        after = patient.wait_for_next_life(pid)
        wait_until(lambda: "overflowed, discarding event" in supervisords_log(patient), 30)
    patient.wait_for(lambda: patient.health()["pid"] == after, what="the new process is noticed")
    patient.wait_for_word("IDLE")
    assert falls_ill_and_is_restarted(patient) != after
    assert len(patient.restarts()) == 1


def test_supervisord_that_hangs(well: Patient) -> None:
    """Fault 27: BLIND and A while it does not answer, nothing done; then all is as before."""
    pid = well.pid()
    with stopped(well.supervisord_pid()):
        wait_until(lambda: well.word() == "BLIND", 30, well.story())
        wait_until(lambda: well.alerts() == ["unknown"], 30, well.story())
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(pid, signal.SIGCONT)
    well.wait_for_word("IDLE")
    assert well.info().pid == pid
    assert well.restarts() == []


def test_supervisord_killed_and_started_again(patient: Patient) -> None:
    """Faults 22 and 24: its listener ends within a second; then one ComfyUI runs, and what was counted still counts."""
    patient.up()
    falls_ill_and_is_restarted(patient)
    listener = patient.listener()
    os.kill(patient.supervisord_pid(), signal.SIGKILL)
    began = time.monotonic()
    wait_until(lambda: not is_running(listener.pid), 10)
    assert time.monotonic() - began < 3.0
    assert len(comfyuis(patient)) == 1
    patient.up()
    patient.wait_for(lambda: comfyuis(patient) == [patient.info().pid], what="the old one's orphan is ended")
    patient.wait_for(lambda: patient.health()["pid"] == patient.info().pid, what="the new process is watched")
    patient.wait_for_word("IDLE")
    assert patient.health()["restarts"]
    assert len(patient.restarts()) == 1


def comfyuis(patient: Patient) -> list[int]:
    """Return the pids of all that run ComfyUI's code, whoever started them."""
    return [pid for pid, argv in patient.commands().items() if argv[1:2] and argv[1].endswith("standin/main.py")]
