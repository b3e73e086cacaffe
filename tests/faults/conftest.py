"""Patients: services under the health listener's eyes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.patient import Patient
from tests.nvml import Nvml


@pytest.fixture
def patient() -> Iterator[Patient]:
    """Give a patient that isn't up yet; afterwards nothing of it is left, and its record stands an audit."""
    with discharged(Patient()) as patient:
        yield patient


@pytest.fixture
def fleet(nvml: Nvml) -> Iterator[Patient]:
    """Give a patient with an instance for each GPU that the test puts in through ``nvml``."""
    patient = Patient(nvml.environ).with_ports(4)
    patient.settings(gpu={"devices": "all"})
    with discharged(patient):
        yield patient


@pytest.fixture(scope="session")
def without_names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process needs in its environment to find no name's address, as without a DNS server."""
    library = tmp_path_factory.mktemp("names") / "no_names.so"
    source = Path(__file__).with_name("no_names.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


@pytest.fixture(scope="session")
def ward(without_names: dict[str, str]) -> Iterator[Patient]:
    """Give the patient that many tests share. It never has a DNS server (fault 16), and needs none."""
    with discharged(Patient(without_names)) as patient:
        patient.up()
        yield patient


@pytest.fixture
def well(ward: Patient) -> Patient:
    """Give the shared patient as good as new."""
    ward.anew()
    return ward


@contextmanager
def discharged(patient: Patient) -> Iterator[Patient]:
    """Give a patient; afterwards nothing of it is left, and its record stands an audit.

    ``DECISIONS`` names a folder that gets a copy of the record: see tests/health/test_decisions.py.
    """
    try:
        yield patient
        patient.nothing_went_wrong()
        for file in patient.state.glob("*/decisions.jsonl"):
            assert "none of them different" in patient.ok("audit", str(file))
            if folder := os.environ.get("DECISIONS"):
                shutil.copy(file, Path(folder, f"{patient.folder.name}-{file.parent.name}.jsonl"))
    finally:
        patient.close()
