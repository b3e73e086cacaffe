"""Several instances under one listener: each for itself, and none blamed for what befalls all."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.faults.patient import Patient
from tests.nvml import Nvml
from tests.support import wait_until

NAMES = ("gpu0", "gpu1", "gpu2")
SOON = 20.0
"""Seconds for each thing that is to happen, as everything is scaled down here."""


@pytest.fixture
def three(fleet: Patient, nvml: Nvml) -> Patient:
    """Give three instances, all well."""
    nvml.cards(["NVIDIA GeForce RTX 4090"] * 3)
    fleet.up(*NAMES)
    return fleet


def pids(patient: Patient) -> list[int]:
    """Return the processes of the three."""
    return [patient.info(f"comfyui:{name}").pid for name in NAMES]


def words(patient: Patient) -> list[str]:
    """Return how the listener finds the three."""
    return [patient.word(name) for name in NAMES]


def test_all_at_once_are_nobodys_fault_but_what_really_died_runs_again(three: Patient) -> None:
    """Fault 31: N and A while all are deaf alike, R for the one that shows a reason of its own."""
    before = pids(three)
    for place in range(3):
        three.order("hold_answers", three.port + place)
    for name in NAMES:
        three.wait_for_word("BLIND", instance=name, deadline=SOON)
        three.wait_for_alert("api_unresponsive", name, SOON)
    three.stays(3.0, "comfyui:gpu0")
    assert pids(three) == before
    os.kill(before[2], signal.SIGSTOP)
    three.wait_for_next_life(before[2], "comfyui:gpu2", SOON)
    for place in range(2):
        three.order("recover", three.port + place)
    for name in NAMES:
        three.wait_for_word("IDLE", instance=name, deadline=SOON)
    assert pids(three)[:2] == before[:2], three.story()
    assert [len(three.restarts(name)) for name in NAMES] == [0, 0, 1]


def test_two_that_flap_and_one_that_is_well(three: Patient) -> None:
    """Fault 29: N for any, and no to and fro between being blamed and being excused."""
    before = pids(three)
    end = time.monotonic() + 9.0
    while time.monotonic() < end:
        for place in range(2):
            three.order("hold_answers", three.port + place, seconds=2.2)
        time.sleep(3.0)  # so long each is deaf, and then well, before it is deaf again
    wait_until(lambda: words(three) == ["IDLE"] * 3, 30, three.story("gpu0"))
    assert pids(three) == before
    assert not any(three.restarts(name) for name in NAMES)
    assert not three.deeds("alert", "restart", "kill", instance="gpu2")
    assert len(three.decisions("gpu0")) < 30, three.story("gpu0")


def test_a_socket_that_hangs_delays_no_other(three: Patient) -> None:
    """The detection of one's fault takes as long as ever while another's socket hangs; and so does supervision."""
    before = pids(three)
    three.order("hold_answers", three.port)
    three.wait_for_word("SUSPECT", instance="gpu0")
    began = time.monotonic()
    os.kill(before[1], signal.SIGSTOP)
    three.wait_for_next_life(before[1], "comfyui:gpu1")
    assert time.monotonic() - began < 15.0
    after = three.wait_for_next_life(before[0], "comfyui:gpu0")
    for name in NAMES:
        three.wait_for_word("IDLE", instance=name)
    assert after != before[0]
    assert pids(three)[2] == before[2]
    assert [len(three.restarts(name)) for name in NAMES] == [1, 1, 0]
