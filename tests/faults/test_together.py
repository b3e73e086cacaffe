"""Faults that take long to judge: each on an instance of its own, at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import discharged
from tests.faults.patient import Patient, failing, sleeper, traced
from tests.nvml import Card, Nvml, Process
from tests.support import wait_until

NAMES = ("gpu0", "gpu1", "gpu2", "gpu3")
TOILING, DEAF, LEAKING, UNDYING = NAMES
SETTINGS: dict[str, dict[str, Any]] = {
    "gpu": {"devices": "all"},
    "health": {"patience": 4.0, "memory_limit": "160MiB"},
    "stall": {"after": 7.5, "alert_after": 8.0, "hard_limit": 10.0},  # a GPU is looked at each 5 s
    "restart": {"healthy_after": 1},
}


class Ill:
    """Four instances, and the processes that fell ill."""

    def __init__(self, patient: Patient) -> None:
        """Note who is there."""
        self.patient = patient
        self.pids = {name: patient.info(f"comfyui:{name}").pid for name in NAMES}

    def port(self, name: str) -> int:
        """Return an instance's port."""
        return self.patient.port + NAMES.index(name)

    def renewed(self, name: str) -> dict[str, Any]:
        """Wait for the end of an instance's first process; return the verdict that ended it, and no other."""
        self.patient.wait_for_next_life(self.pids[name], f"comfyui:{name}", 60)
        (verdict,) = self.patient.restarts(name)
        return verdict


@pytest.fixture(scope="module")
def ill(nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ill]:
    """Give four instances, three of which have just fallen ill."""
    nvml = Nvml(nvml_library, tmp_path_factory.mktemp("machine"))
    nvml.cards([Card()] * len(NAMES))
    with discharged(Patient(nvml.environ).with_ports(len(NAMES))) as patient:
        patient.settings(**SETTINGS)
        patient.up(*NAMES)
        ill = Ill(patient)
        nvml.cards([Card(utilization=100, processes=(Process(ill.pids[TOILING], sm=100),)), *[Card()] * 3])
        patient.order("stall", ill.port(TOILING), deaf=True)
        patient.submit(sleeper(60), ill.port(TOILING))
        patient.order("hold_answers", ill.port(DEAF), how="gil")
        patient.submit(sleeper(4), ill.port(LEAKING))
        patient.order("leak", ill.port(LEAKING), mib_per_second=50)
        yield ill


def test_what_survives_sigkill_is_not_doubled(ill: Ill) -> None:
    """Fault 34: A, and no second copy. When it dies in the end, the next life begins."""
    patient, port = ill.patient, ill.port(UNDYING)
    with traced(ill.pids[UNDYING], "outlive"):
        patient.submit(failing("cuda_poisoned"), port)
        wait_until(lambda: "survives SIGKILL" in str(patient.deeds("alert", instance=UNDYING)), 60, "no alert")
        patient.stays(1.0, f"comfyui:{UNDYING}")
        assert sum(str(port) in " ".join(command) for command in patient.commands().values()) == 1
    assert ill.renewed(UNDYING)["cause"] == "cuda_poisoned"


def test_a_gpu_at_full_load_without_progress_is_said_and_ended_at_the_hard_limit(ill: Ill) -> None:
    """Fault 6: A, then R where ``stall.hard_limit`` is set. GPU use is activity, never progress."""
    verdict = ill.renewed(TOILING)
    assert verdict["cause"] == "stalled"
    assert "100 % of its GPU" in verdict["reason"]
    assert "stalled" in ill.patient.alerts(TOILING)


def test_patience_with_a_dead_api_ends(ill: Ill) -> None:
    """Fault 3: R, though it works, and hears no SIGINT while the interpreter's lock is held."""
    assert ill.renewed(DEAF)["cause"] == "api_unresponsive"


def test_memory_is_given_back_when_there_is_no_job(ill: Ill) -> None:
    """R when idle, planned: nothing is counted. The job was not cut off for it."""
    verdict = ill.renewed(LEAKING)
    assert verdict["cause"] == "recycled"
    assert "health.memory_limit" in verdict["reason"]
    assert not ill.patient.health(LEAKING)["restarts"]
