"""Alerts of a real service: told once, a storm as one message, later to a receiver that was dead."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.faults.patient import Patient
from tests.notify.conftest import Ear
from tests.support import free_port


@pytest.fixture
def listening() -> Iterator[Ear]:
    """Give a receiver that listens."""
    ear = Ear()
    yield ear
    ear.close()


def kinds(ear: Ear) -> list[str]:
    """Return what was told of, in order, each as often as it happened."""
    return [each["kind"] for message in ear.heard for each in message["events"] for _ in range(each["count"])]


def freeze(patient: Patient) -> None:
    """Have ComfyUI stopped by a signal until the listener has restarted it."""
    pid = patient.pid()
    os.kill(pid, signal.SIGSTOP)
    patient.wait_for_restart(pid, "process_stopped", 60)


def settled(patient: Patient, before: int) -> int:
    """Wait until the listener finds well what runs now, which is another process than before; return its pid."""
    patient.wait_for(
        lambda: patient.word() == "IDLE" and patient.health()["pid"] == patient.info().pid not in (0, before)
    )
    return patient.pid()


def test_a_restart_is_told_once_with_its_reason_and_its_end(patient: Patient, listening: Ear) -> None:
    patient.settings(notify={"webhook": listening.url, "collect": 3})
    patient.up()
    freeze(patient)
    patient.wait_for(lambda: kinds(listening) == ["restart", "recovery"], 60, f"alerts: {listening.heard}")
    first = listening.heard[0]
    assert "comfyui restarted (process_stopped)" in first["subject"]
    assert "a signal stopped the process" in first["text"]
    assert "next: nothing" in first["text"]
    patient.stays(3.0)
    assert kinds(listening) == ["restart", "recovery"]


def test_a_storm_is_one_message_and_an_operators_restart_is_none(patient: Patient, listening: Ear) -> None:
    patient.settings(notify={"webhook": listening.url, "collect": 20, "on": ["restart"]})
    patient.up()
    pid = patient.pid()
    patient.ok("restart")
    for _ in range(3):
        pid = settled(patient, pid)
        os.kill(pid, signal.SIGKILL)
    patient.wait_for(lambda: listening.heard, 60, "a message")
    assert kinds(listening) == ["restart"] * 3
    assert len(listening.heard) == 1


def test_a_dead_receiver_delays_nothing_and_gets_it_later_from_the_next_listener(patient: Patient) -> None:
    port = free_port()
    patient.settings(notify={"webhook": f"http://127.0.0.1:{port}/s3cret", "collect": 0.5, "on": ["restart"]})
    patient.up()
    freeze(patient)
    patient.wait_for(lambda: "can't be told (nobody listens there)" in patient.log("comfyui-health"), 60, "a try")
    patient.listener().kill()
    patient.wait_for(lambda: patient.log("comfyui-health").count("alerts go to") == 2, 60, "the next listener")
    late = Ear(port)
    try:
        late.wait_for(1, 60)
        assert kinds(late) == ["restart"]
    finally:
        late.close()
    assert "s3cret" not in patient.log("comfyui-health")
    assert not [argv for argv in patient.commands().values() if "s3cret" in " ".join(argv)]
