"""What ``use`` says the GPUs are doing, through the real pynvml."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from comfy_supervisor.gpu import use
from comfy_supervisor.model import GpuUse
from tests.nvml import Card, Instance, Nvml
from tests.support import is_running, wait_until

FIRST = "GPU-00000000-0000-0000-0000-000000000000"
SECOND = "GPU-00000001-0000-0000-0000-000000000000"


@pytest.fixture(autouse=True)
def on_this_machine(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in nvml.environ.items():
        monkeypatch.setenv(name, value)


def test_memory_and_utilization_by_uuid(nvml: Nvml) -> None:
    nvml.cards([Card(used_mib=1000, utilization=97), Card("NVIDIA GeForce RTX 3070", used_mib=5)])
    assert use() == {FIRST: GpuUse(FIRST, 1000, 24564, 97, 0), SECOND: GpuUse(SECOND, 5, 8192, 0, 1)}


def test_mig_instances_have_memory_but_no_utilization(nvml: Nvml) -> None:
    nvml.cards([Card(mig=1, instances=(Instance("1g.5gb", 4864, "MIG-aaaa", used_mib=12),))])
    assert use() == {"MIG-aaaa": GpuUse("MIG-aaaa", 12, 4864, None)}


def test_mig_mode_without_instances_is_no_use(nvml: Nvml) -> None:
    nvml.cards([Card(mig=1)])
    assert use() == {}


@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID", "nvmlDeviceGetMemoryInfo"])
def test_lost_gpu_is_left_out(nvml: Nvml, function: str) -> None:
    nvml.cards([Card(), Card()])
    nvml.fail("GPU_IS_LOST", function, card=0)
    assert set(use()) == {SECOND}


def test_utilization_that_cannot_be_read_is_none(nvml: Nvml) -> None:
    nvml.cards([Card(used_mib=7)])
    nvml.fail("NOT_SUPPORTED", "nvmlDeviceGetUtilizationRates")
    assert use() == {FIRST: GpuUse(FIRST, 7, 24564, None, 0)}


def test_gpu_that_shares_the_machines_memory(nvml: Nvml) -> None:
    nvml.cards([Card("NVIDIA GB10", memory_mib=0)])
    nvml.fail("NOT_SUPPORTED", "nvmlDeviceGetMemoryInfo")
    shared = use()[FIRST]
    assert 0 < shared.memory_used_mib < shared.memory_total_mib


def test_nothing_to_tell_is_empty() -> None:
    assert use() == {}


def test_hang_is_empty(nvml: Nvml) -> None:
    nvml.cards([Card()])
    nvml.hang("nvmlDeviceGetUtilizationRates")
    assert use(deadline=1) == {}


def test_a_helper_that_is_left_alone_ends(nvml: Nvml) -> None:
    """Whoever asked was killed, within a call that does not return."""
    nvml.cards([Card()])
    nvml.hang("nvmlDeviceGetMemoryInfo")
    code = "from comfy_supervisor.gpu import use; use(deadline=4.0)"
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        asked = psutil.Process(parent.pid)
        wait_until(asked.children)
        (left,) = asked.children()
        parent.kill()
    assert left.is_running()
    wait_until(lambda: not is_running(left.pid), 30)
