"""The faults that a custom node can cause, with a real ComfyUI on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.service import DEADLINE
from tests.faults.conftest import discharged
from tests.faults.patient import Patient, fault
from tests.support import needs_comfyui

pytestmark = needs_comfyui


@pytest.fixture(scope="module")
def one() -> Iterator[Patient]:
    """Give a real ComfyUI that is well, with nodes of ours."""
    with discharged(Patient()) as patient:
        patient.settings(comfyui=patient.real_comfyui(), health={"start_grace": 300.0})
        patient.up()
        yield patient


@pytest.fixture
def real(one: Patient) -> Patient:
    """Give it as good as new."""
    one.renew()
    return one


def test_a_node_that_waits_for_a_lock_for_ever_is_ended(real: Patient) -> None:
    """Fault 5: R."""
    pid = real.pid()
    prompt_id = real.submit(fault("FaultDeadlock", 1e9))
    assert prompt_id in real.wait_for_restart(pid, "stalled", 60)["reason"]
    assert len(real.deeds("interrupt")) == 1


def test_a_node_that_holds_the_gil_for_a_while_is_borne(real: Patient) -> None:
    """Fault 2: N."""
    real.finished(real.submit(fault("FaultHoldGil", 8)))
    real.wait_for_word("IDLE")
    assert "SUSPECT" in [decision["verdict"]["word"] for decision in real.decisions()]
    assert not real.deeds("restart", "kill", "interrupt")


def test_a_node_that_holds_the_gil_for_ever_is_ended(real: Patient) -> None:
    """Fault 3: R, when patience ends."""
    pid = real.pid()
    real.submit(fault("FaultHoldGil", 1e6))
    assert "of a CPU" in real.wait_for_restart(pid, "api_unresponsive", 100)["reason"]


def test_a_node_that_ends_the_worker_is_found_out(real: Patient) -> None:
    """Fault 4, without the extension: R as for a stall. Of a thread that SystemExit ends, no log says a word."""
    pid = real.pid()
    real.submit(fault("FaultEndThread", 0))
    real.wait_for_restart(pid, "stalled", 60)
    assert "Traceback" not in real.log()


def test_a_node_whose_error_says_that_cuda_is_poisoned_is_believed(real: Patient) -> None:
    """R within 10 s."""
    pid = real.pid()
    real.finished(
        real.submit(fault("FaultFail", "CUDA error: device-side assert triggered\nCUDA kernel errors might …"))
    )
    real.wait_for_restart(pid, "cuda_poisoned", 10)


def test_a_node_that_fails_otherwise_is_its_users_affair(real: Patient) -> None:
    """N, though the text speaks of CUDA."""
    real.finished(real.submit(fault("FaultFail", "Expected a tensor on CUDA, got one on the CPU")))
    real.stays(2.0)
    assert not real.restarts()


def test_a_node_that_computes_for_long_is_never_touched(real: Patient) -> None:
    """Fault 7: N."""
    real.finished(real.submit(fault("FaultCompute", 10)))
    real.wait_for_word("IDLE", deadline=DEADLINE)
    assert not real.deeds("restart", "kill", "interrupt")
