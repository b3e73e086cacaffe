"""Faults of the start: slow, hanging, or on the wrong device."""

from __future__ import annotations

from tests.faults.patient import Patient
from tests.nvml import Nvml


def test_a_start_takes_as_long_as_it_moves_and_no_longer(patient: Patient) -> None:
    """N beyond the grace while its log moves; R where all is quiet, and then again."""
    patient.startable(health={"start_grace": 1.0, "start_quiet": 1.5, "quiet": 1.0})
    patient.start_fault("slow:4")
    patient.up()
    assert not patient.restarts()
    pid = patient.pid()
    patient.start_fault("silent")
    patient.order("crash", how="abort")
    hanging = patient.wait_for_next_life(pid, deadline=15)
    patient.wait_for(lambda: patient.log().count("Device: cpu") == 2, 15, "it has read what to do")
    patient.start_fault("")
    verdict = patient.wait_for_restart(hanging, "stalled", 30)
    assert "its log is quiet, too" in verdict["reason"]


def test_a_comfyui_that_fell_back_to_the_cpu_is_held(fleet: Patient, nvml: Nvml) -> None:
    """Held, once, with the explanation; with ``gpu.require = false`` only A."""
    nvml.cards(["NVIDIA GeForce RTX 4090"])
    fleet.environ["STANDIN_START"] = "cpu_fallback"
    fleet.run("up", "-d")  # it may see the hold already
    fleet.wait_for_word("GAVE_UP", instance="gpu0")
    assert [verdict["cause"] for verdict in fleet.restarts("gpu0")] == ["cpu_fallback"]
    fleet.wait_for_log("waiting (configuration)")
    fleet.stays(3.0)
    assert "gpu.require" in fleet.health("gpu0")["reason"]


def test_a_comfyui_may_be_left_on_the_cpu(fleet: Patient, nvml: Nvml) -> None:
    """With ``gpu.require = false``: A, and N."""
    nvml.cards(["NVIDIA GeForce RTX 4090"])
    fleet.environ["STANDIN_START"] = "cpu_fallback"
    fleet.settings(gpu={"devices": "all", "require": False})
    fleet.ok("up", "-d")
    fleet.wait_for_alert("cpu_fallback", "gpu0", deadline=20)
    fleet.stays(2.0)
    assert not fleet.restarts("gpu0")
