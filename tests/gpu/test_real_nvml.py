"""The stand-in and this package against a real driver, on machines that have one."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from comfy_supervisor.gpu import detect, use
from comfy_supervisor.gpu.watch import Pace, Watch
from comfy_supervisor.model import Driver
from tests.nvml import functions
from tests.support import wait_until

PROCESSES = "nvidia-smi --query-compute-apps=gpu_uuid,pid --format=csv,noheader"
LOAD = "import ctypes, sys; library = ctypes.CDLL('libnvidia-ml.so.1'); "


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *functions()], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", autouse=True)
def real_library() -> None:
    """In a process of its own: a driver may crash the one that loads it."""
    if python(LOAD).returncode:
        pytest.skip("this machine has no libnvidia-ml.so.1 to check the stand-in against")


@pytest.fixture(scope="module")
def driver() -> None:
    if detect().driver is not Driver.OK:
        pytest.skip(f"this machine's NVIDIA driver doesn't work: {detect().text}")


def test_every_function_of_the_stand_in_is_in_the_real_library() -> None:
    missing = python(LOAD + "print([name for name in sys.argv[1:] if not hasattr(library, name)])")
    assert missing.stdout == "[]\n", missing.stderr


@pytest.mark.usefixtures("driver")
def test_report_agrees_with_nvidia_smi() -> None:
    if not shutil.which("nvidia-smi"):
        pytest.skip("this machine has no nvidia-smi to compare with")
    query = "index,uuid,name,memory.total,pci.bus_id,driver_version"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    report = detect()
    ours = [
        [str(gpu.index), gpu.uuid, gpu.name, str(gpu.memory_mib), gpu.pci, report.driver_version]
        for gpu in report.gpus
        if not gpu.mig
    ]
    assert ours == list(csv.reader(output.splitlines(), skipinitialspace=True))


@pytest.mark.usefixtures("driver")
def test_use_knows_every_usable_gpu() -> None:
    assert set(use()) == {gpu.uuid for gpu in detect().usable}


@pytest.fixture
def watch(driver: None) -> Iterator[Watch]:
    """A watch that has seen all GPUs."""
    watch = Watch(Pace(period=0.5))
    watch.start()
    wait_until(lambda: watch.devices or watch.trouble, deadline=90)
    yield watch
    watch.close()


def test_watch_sees_every_usable_gpu_at_work(watch: Watch) -> None:
    """Also as time goes by, and none has a fault."""
    first = watch.devices
    wait_until(lambda: watch.devices and watch.devices is not first, what=watch.trouble)
    assert watch.trouble == ""
    assert {device.uuid for device in watch.devices} >= {gpu.uuid for gpu in detect().usable}
    for gpu in detect().usable:
        seen = watch.sight(gpu.uuid, set())
        assert seen.fault == ""
        assert seen.percent is None or 0 <= seen.percent <= 100


def test_watch_knows_the_processes_that_nvidia_smi_knows(watch: Watch) -> None:
    if not shutil.which("nvidia-smi"):
        pytest.skip("this machine has no nvidia-smi to compare with")
    if any(gpu.mig for gpu in detect().gpus):
        pytest.skip("with MIG, nvidia-smi names the whole GPU for each process")

    def missing() -> set[tuple[str, int]]:
        output = subprocess.run(PROCESSES.split(), capture_output=True, text=True, check=True).stdout
        theirs = {(uuid, int(pid)) for uuid, pid in csv.reader(output.splitlines(), skipinitialspace=True)}
        return theirs - {(device.uuid, pid) for device in watch.devices for pid in device.memory or ()}

    wait_until(lambda: not missing(), what="the same processes")
