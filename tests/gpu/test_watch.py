"""The watch over all GPUs, with a real helper process, the real pynvml and a stand-in for NVIDIA's library."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from comfy_supervisor.gpu import helper
from comfy_supervisor.gpu import watch as module
from comfy_supervisor.gpu.sights import Device
from comfy_supervisor.gpu.watch import Pace, Watch
from comfy_supervisor.model import GpuSight as Sight
from tests.nvml import Card, Instance, Nvml, Process
from tests.support import is_running, wait_until

FIRST = "GPU-00000000-0000-0000-0000-000000000000"
SECOND = "GPU-00000001-0000-0000-0000-000000000000"
OWN = os.getpid()
NEIGHBOUR = os.getppid()
NOWHERE = 2**22 - 1
PACE = Pace(period=0.1, fresh=0.3, start_up=30.0, first_delay=0.1, longest_delay=0.3)
PATIENT = Pace(period=0.1, fresh=0.3, start_up=30.0, first_delay=600.0, longest_delay=600.0)

Begin = Callable[..., Watch]


@pytest.fixture(autouse=True)
def on_this_machine(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in nvml.environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a watch, which the test's end closes."""
    watches = []

    def start(pace: Pace = PATIENT) -> Watch:
        watches.append(Watch(pace))
        watches[-1].start()
        return watches[-1]

    yield start
    for watch in watches:
        watch.close()
    wait_until(lambda: not helpers())


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose code runs in the helper's place."""
    path = tmp_path / "nvml_watch.py"
    monkeypatch.setattr(module, "_SCRIPT", path)
    return path


def helpers(pid: int = OWN) -> list[int]:
    """The process ids of a process's helpers."""
    return [each.pid for each in psutil.Process(pid).children() if is_running(each.pid) and is_helper(each)]


def is_helper(process: psutil.Process) -> bool:
    try:
        return any(part.endswith("nvml_watch.py") for part in process.cmdline())
    except psutil.Error:
        return False


def device(watch: Watch, place: int = 0) -> Device:
    """What a GPU does, as soon as it has been seen."""
    wait_until(lambda: watch.devices, what=f"a look ({watch.trouble})")
    return watch.devices[place]


def shows(watch: Watch, expected: Sight, gpu: str = FIRST, since: float = 0.0) -> None:
    """Wait until a GPU is seen so by this process."""
    wait_until(lambda: watch.sight(gpu, {OWN}, since) == expected, what=str(watch.sight(gpu, {OWN}, since)))


def faulty(watch: Watch, words: str, gpu: str = FIRST) -> None:
    wait_until(lambda: words in watch.sight(gpu, {OWN}).fault, what=str(watch.sight(gpu, {OWN})))


class TestUse:
    """What a GPU does for its instance, told by process or not."""

    def test_by_process(self, nvml: Nvml, begin: Begin) -> None:
        """A neighbour's use doesn't count, nor what is long past."""
        own, neighbour = Process(OWN, 30, memory_mib=5000), Process(NEIGHBOUR, 60, memory_mib=7, graphics=True)
        nvml.cards([Card(utilization=90, processes=(own, neighbour)), Card()])
        watch = begin()
        seen = device(watch)
        assert seen.memory == {OWN: 5000, NEIGHBOUR: 7}
        shows(watch, Sight(30))
        assert watch.sight(FIRST, {OWN, NEIGHBOUR}).percent == 90
        nvml.cards([Card(utilization=90, processes=(Process(OWN, 30, age=60), neighbour))])
        shows(watch, Sight(0))

    def test_idle_gpu(self, nvml: Nvml, begin: Begin) -> None:
        """NVML has nothing to find then."""
        nvml.cards([Card(utilization=3, processes=(Process(OWN),))])
        shows(begin(), Sight(0))

    @pytest.mark.parametrize("error", ["NOT_SUPPORTED", "NO_PERMISSION", "FUNCTION_NOT_FOUND", "UNKNOWN"])
    def test_not_told_by_process(self, nvml: Nvml, begin: Begin, error: str) -> None:
        """What the device does is the instance's if nobody else uses it."""
        nvml.cards([Card(utilization=40, processes=(Process(OWN),))])
        nvml.fail(error, "nvmlDeviceGetProcessUtilization")
        watch = begin()
        shows(watch, Sight(40))
        nvml.cards([Card(utilization=41, processes=(Process(OWN), Process(NEIGHBOUR, graphics=True)))])
        shows(watch, Sight(None))

    def test_neither_use_nor_processes(self, nvml: Nvml, begin: Begin) -> None:
        """As on WSL 2."""
        nvml.cards([Card(utilization=40, processes=(Process(OWN, 40),))])
        for function in ("ProcessUtilization", "ComputeRunningProcesses_v3", "GraphicsRunningProcesses_v3"):
            nvml.fail("NOT_SUPPORTED", f"nvmlDeviceGet{function}")
        watch = begin()
        assert device(watch).memory is None
        shows(watch, Sight(None))

    def test_figures_that_make_no_sense(self, nvml: Nvml, begin: Begin) -> None:
        nvml.cards([Card(utilization=40, processes=(Process(OWN, 3_670_016),))])
        watch = begin()
        assert device(watch).busy is None
        shows(watch, Sight(40))

    def test_host_process_ids_in_a_container(self, nvml: Nvml, begin: Begin) -> None:
        nvml.cards([Card(utilization=90, processes=(Process(NOWHERE, 90), Process(2**31, 1)))])
        watch = begin()
        assert not device(watch).here
        assert watch.sight(FIRST, {OWN}).percent is None

    def test_neighbour_alone(self, nvml: Nvml, begin: Begin) -> None:
        nvml.cards([Card(utilization=90, processes=(Process(NEIGHBOUR, 90),))])
        shows(begin(), Sight(0))

    def test_mig_instance(self, nvml: Nvml, begin: Begin) -> None:
        """Its memory is told, its use isn't."""
        slots = (Instance(), Instance("1g.5gb", 4864, "MIG-a", processes=(Process(OWN, memory_mib=9),)))
        nvml.cards([Card(mig=1, instances=slots)])
        watch = begin()
        seen = device(watch)
        assert (seen.uuid, seen.memory) == ("MIG-a", {OWN: 9})
        assert watch.sight("MIG-a", {OWN}) == Sight(None)

    def test_library_that_prints(self, nvml: Nvml, begin: Begin) -> None:
        nvml.cards([Card(processes=(Process(OWN, 5),))])
        nvml.print("nvmlDeviceGetUUID")
        shows(begin(), Sight(5))


class TestFault:
    """What needs a person."""

    @pytest.mark.parametrize(
        ("error", "words"), [("GPU_IS_LOST", "fallen off the bus"), ("RESET_REQUIRED", "nvidia-smi --gpu-reset")]
    )
    def test_gpu_is_lost_and_comes_back(self, nvml: Nvml, begin: Begin, error: str, words: str) -> None:
        """The other goes on being watched."""
        nvml.cards([Card(), Card(processes=(Process(OWN, 5),))])
        watch = begin(PACE)
        shows(watch, Sight(0))
        nvml.fail(error, "nvmlDeviceGetUUID", card=0)
        nvml.fail(error, "nvmlDeviceGetHandleByIndex_v2", card=0)
        faulty(watch, words)
        shows(watch, Sight(5), SECOND)
        nvml.mend()
        shows(watch, Sight(0))

    def test_no_helper_keeps_a_lone_gpu_from_being_reset(self, nvml: Nvml, begin: Begin) -> None:
        """The driver would count it as one that uses the GPU. That it works again is seen at the next look."""
        nvml.cards([Card()])
        nvml.fail("RESET_REQUIRED", "nvmlDeviceGetUtilizationRates")
        patient = begin(PATIENT)
        faulty(patient, "must be reset")
        wait_until(lambda: not helpers())
        nvml.mend()
        patient.forget(FIRST)
        shows(patient, Sight(0))

    def test_gpu_that_the_driver_no_longer_shows(self, nvml: Nvml, begin: Begin) -> None:
        nvml.cards([Card(), Card()])
        watch = begin(PACE)
        shows(watch, Sight(0), SECOND)
        nvml.cards([Card()])
        faulty(watch, "does not show it any more", SECOND)
        assert watch.sight(FIRST, {OWN}).fault == ""

    def test_what_was_seen_before_it_was_forgotten_is_no_news(self) -> None:
        """A line that is still on its way then does not bring the fault back."""
        watch = Watch()
        row = {"index": 0, "mig": "off", "uuid": FIRST, "errors": {"percent": [15, "GPU is lost"]}}
        line = json.dumps({"at": 1.0, "gpus": [row], "xids": []}).encode()
        assert not watch._hear(line, [])
        assert watch.sight(FIRST, {OWN}).fault
        watch.forget(FIRST)
        assert watch._hear(line, [])
        assert watch.sight(FIRST, {OWN}) == Sight()

    def test_forgetting_starts_a_new_helper(self, nvml: Nvml, begin: Begin) -> None:
        """To the old one, a GPU that was lost once stays so."""
        nvml.cards([Card()])
        watch = begin()
        shows(watch, Sight(0))
        old = helpers()
        watch.forget(FIRST)
        wait_until(lambda: helpers() and helpers() != old)
        shows(watch, Sight(0))

    def test_driver_mismatch(self, nvml: Nvml, begin: Begin) -> None:
        nvml.cards([Card()])
        nvml.fail("LIB_RM_VERSION_MISMATCH")
        faulty(begin(), "different versions")

    def test_no_driver(self, nvml: Nvml, begin: Begin) -> None:
        """Nothing is known, no helper is kept running, and the driver is found when it comes."""
        watch = begin(PACE)
        wait_until(lambda: "no NVIDIA GPU" in watch.trouble)
        wait_until(lambda: not helpers())
        assert watch.sight(FIRST, {OWN}) == Sight()
        nvml.cards([Card()])
        shows(watch, Sight(0))
        assert watch.trouble == ""


class TestXids:
    """The driver's errors as NVML's events tell them."""

    def test_errors_of_this_life(self, nvml: Nvml, begin: Begin) -> None:
        nvml.cards([Card(), Card()])
        watch = begin()
        shows(watch, Sight(0))
        nvml.xid(31)
        shows(watch, Sight(0, xids=(31,)))
        now = time.monotonic()
        nvml.xid(13)
        nvml.xid(45, card=1)
        shows(watch, Sight(0, xids=(13,)), since=now)
        shows(watch, Sight(0, xids=(45,)), SECOND)

    def test_gpu_by_another_handle(self, nvml: Nvml, begin: Begin) -> None:
        """A lost one tells nothing, and is known by the handle alone."""
        nvml.cards([Card(), Card()])
        watch = begin()
        shows(watch, Sight(0))
        nvml.xid(31, card=1, copy=True)
        shows(watch, Sight(0, xids=(31,)), SECOND)
        nvml.fail("GPU_IS_LOST", "nvmlDeviceGetIndex")
        nvml.xid(13, card=1, copy=True)
        nvml.xid(43, card=1)
        shows(watch, Sight(0, xids=(31, 43)), SECOND)
        assert watch.sight(FIRST, {OWN}) == Sight(0)

    def test_grave_one(self, nvml: Nvml, begin: Begin) -> None:
        """It stays, whatever is seen later, until an operator has it forgotten."""
        nvml.cards([Card(), Card()])
        watch = begin(PACE)
        shows(watch, Sight(0))
        nvml.xid(79)
        faulty(watch, "GPU 0: the driver reported Xid 79")
        first = helpers()
        wait_until(lambda: helpers() and helpers() != first)  # looked at anew
        shows(watch, Sight(0), SECOND)
        assert "Xid 79" in watch.sight(FIRST, {OWN}).fault
        watch.forget(FIRST)
        assert watch.sight(FIRST, {OWN}).fault == ""
        shows(watch, Sight(0))

    def test_of_a_mig_instance(self, nvml: Nvml, begin: Begin) -> None:
        nvml.cards([Card(mig=1, instances=(Instance("a", 1, "MIG-a"), Instance("b", 1, "MIG-b")))])
        watch = begin()
        device(watch)
        nvml.xid(31, instance=2)
        shows(watch, Sight(xids=(31,)), "MIG-b")
        assert watch.sight("MIG-a", {OWN}) == Sight()

    @pytest.mark.parametrize("function", ["nvmlEventSetCreate", "nvmlDeviceRegisterEvents", "nvmlEventSetWait_v2"])
    def test_where_they_are_not_told(self, nvml: Nvml, begin: Begin, function: str) -> None:
        nvml.cards([Card(processes=(Process(OWN, 5),))])
        nvml.fail("NOT_SUPPORTED", function)
        watch = begin()
        shows(watch, Sight(5))
        nvml.cards([Card(processes=(Process(OWN, 6),))])
        shows(watch, Sight(6))

    def test_flood(self, nvml: Nvml, begin: Begin) -> None:
        """Looks go on at their pace, what comes of it is one number, and it takes little of a core."""
        nvml.cards([Card(processes=(Process(OWN, 5),))])
        watch = begin(Pace(period=1.0))
        shows(watch, Sight(5))
        (pid,) = helpers()
        nvml.xid(31, times=10**9)
        shows(watch, Sight(5, xids=(31,)))
        used = sum(psutil.Process(pid).cpu_times()[:2])
        nvml.cards([Card(processes=(Process(OWN, 6),))])
        shows(watch, Sight(6, xids=(31,)))
        assert sum(psutil.Process(pid).cpu_times()[:2]) - used < 0.5


class TestHelper:
    """Whatever becomes of the helper, nobody waits for it, and none is left over."""

    def test_killed(self, nvml: Nvml, begin: Begin) -> None:
        """Nothing is known until a new one has looked."""
        nvml.cards([Card(processes=(Process(OWN, 5),))])
        watch = begin(Pace(period=0.1, fresh=0.3, start_up=30.0, first_delay=2.0, longest_delay=2.0))
        shows(watch, Sight(5))
        (first,) = helpers()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: "ended: Killed" in watch.trouble)
        shows(watch, Sight())
        shows(watch, Sight(5))
        assert helpers() != [first]
        assert watch.trouble == ""

    def test_crash_of_the_library(self, nvml: Nvml, begin: Begin) -> None:
        nvml.cards([Card()])
        nvml.crash("nvmlDeviceGetUtilizationRates")
        watch = begin(PACE)
        wait_until(lambda: "Segmentation fault" in watch.trouble)
        nvml.mend()
        shows(watch, Sight(0))

    def test_hang_is_abandoned(self, nvml: Nvml, begin: Begin) -> None:
        nvml.cards([Card(), Card(processes=(Process(OWN, 5),))])
        watch = begin(PACE)
        shows(watch, Sight(5), SECOND)
        (first,) = helpers()
        nvml.hang("nvmlDeviceGetUUID", card=0)
        shows(watch, Sight(), SECOND)
        wait_until(lambda: "NVML hangs" in watch.trouble)
        wait_until(lambda: not is_running(first))
        nvml.mend()
        shows(watch, Sight(5), SECOND)

    def test_one_that_no_signal_reaches_is_never_doubled(
        self, script: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A new one is started as soon as it is gone."""
        script.write_text("import time; time.sleep(600)")
        watch = begin(Pace(period=0.1, fresh=0.3, start_up=0.5, first_delay=0.1, longest_delay=0.1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "killpg", Mock())
            wait_until(lambda: "an earlier call still hangs" in watch.trouble, what=watch.trouble)
        (stuck,) = helpers()
        assert f"(process {stuck})" in watch.trouble
        script.write_text("raise SystemExit(3)")
        os.kill(stuck, signal.SIGKILL)
        wait_until(lambda: "exit status 3" in watch.trouble)

    @pytest.mark.parametrize("hangs", [False, True])
    def test_parent_is_killed(self, nvml: Nvml, *, hangs: bool) -> None:
        """The helper ends by itself, also within a call that does not return."""
        nvml.cards([Card()])
        if hangs:
            nvml.hang("nvmlDeviceGetUUID")
        code = "import time; from comfy_supervisor.gpu.watch import Watch; Watch().start(); time.sleep(600)"
        parent = subprocess.Popen([sys.executable, "-c", code])
        try:
            wait_until(lambda: helpers(parent.pid))
            (left,) = helpers(parent.pid)
            wait_until(lambda: "libnvidia-ml" in Path(f"/proc/{left}/maps").read_text())
        finally:
            parent.kill()
            parent.wait()
        wait_until(lambda: not is_running(left), 5)

    def test_sleeping_parent_finds_the_newest(self, script: Path, begin: Begin) -> None:
        """What it reads too late is no news: only the last look counts."""
        script.write_text(
            "import json, time\n"
            "for at in (0.0, time.monotonic() - 600):\n"
            "    row = dict(index=0, mig='off', errors={}, uuid='GPU-a', percent=0)\n"
            "    print(json.dumps(dict(at=at, gpus=[row], xids=[[at, 0, None, 31]])), flush=True)\n"
            "time.sleep(600)\n"
        )
        watch = begin(Pace(period=20.0))
        wait_until(lambda: watch.sight("GPU-a", {OWN}).xids)
        assert watch.sight("GPU-a", {OWN}) == Sight(None, xids=(31,))
        assert watch.devices == ()

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            ("print('{}')", "of another release"),
            ("print('[]')", "of another release"),
            ("print('not JSON')", "of another release"),
            ("print('[' * 100000)", "of another release"),
            ("import time; print('x' * 2**21, flush=True, end=''); time.sleep(600)", "of another release"),
            ("raise SystemExit(3)", "exit status 3"),
            ("import no_such_module", "exit status 1"),
            ("import os, time; os.close(1); time.sleep(600)", "ended"),
        ],
    )
    def test_one_that_makes_no_sense(self, script: Path, begin: Begin, code: str, words: str) -> None:
        script.write_text(code)
        watch = begin(PATIENT)
        wait_until(lambda: words in watch.trouble, what=watch.trouble)
        wait_until(lambda: not helpers())
        assert watch.sight(FIRST, {OWN}) == Sight()

    def test_close_leaves_nothing(self, nvml: Nvml) -> None:
        nvml.cards([Card()])
        before = psutil.Process().num_fds(), psutil.Process().num_threads()
        for _ in range(3):
            watch = Watch(PATIENT)
            watch.start()
            device(watch)
            began = time.monotonic()
            watch.close()
            assert time.monotonic() - began < 10
        wait_until(lambda: (psutil.Process().num_fds(), psutil.Process().num_threads()) == before)
        assert helpers() == []

    def test_it_ends_between_two_looks(self, nvml: Nvml) -> None:
        """No signal is needed, which could meet it within a call."""
        nvml.cards([Card()])
        process = helper.start(module._SCRIPT, "600", stdin=subprocess.PIPE, stderr=None)
        assert process.stdout
        assert process.stdout.readline()
        module._end_kindly(process)
        assert process.returncode == 0

    def test_close_without_start(self) -> None:
        watch = Watch()
        watch.forget(FIRST)
        watch.close()
        assert watch.sight(FIRST, {OWN}) == Sight()

    def test_one_that_fails_again_and_again_is_started_more_and_more_rarely(
        self, script: Path, begin: Begin, tmp_path: Path
    ) -> None:
        starts = tmp_path / "starts"
        starts.touch()
        script.write_text(f"import time; open({str(starts)!r}, 'a').write(f'{{time.monotonic()}}\\n'); exit(3)")
        begin(Pace(first_delay=0.05, longest_delay=600.0))
        wait_until(lambda: len(starts.read_text().splitlines()) == 5)
        *_, fourth, fifth = map(float, starts.read_text().split())
        assert fifth - fourth >= 0.4

    def test_delay_grows_to_its_limit(self) -> None:
        pace = Pace()
        assert [pace.delay_after(n) for n in (1, 2, 3, 6, 7, 10_000)] == [10, 20, 40, 300, 300, 300]


def test_another_pace_is_kept_at_once(nvml: Nvml, begin: Begin) -> None:
    nvml.cards([Card(processes=(Process(OWN, 5),))])
    watch = begin(Pace(period=600.0))
    shows(watch, Sight(5))
    (slow,) = helpers()
    watch.look_every(0.1)
    nvml.cards([Card(processes=(Process(OWN, 6),))])
    shows(watch, Sight(6))
    (quick,) = helpers()
    watch.look_every(0.1)
    nvml.cards([Card(processes=(Process(OWN, 7),))])
    shows(watch, Sight(7))
    assert helpers() == [quick] != [slow]


def test_memory_and_descriptors_stay_flat(script: Path, begin: Begin) -> None:
    """Over some weeks' lines, in a hurry."""
    script.write_text(
        "import itertools, json, time\n"
        "for i in itertools.count():\n"
        "    rows = [dict(index=n, mig='off', errors={}, uuid=f'GPU-{n}', busy=[[i, 5]], processes=[[i, 100]])\n"
        "            for n in range(8)]\n"
        "    print(json.dumps(dict(at=time.monotonic(), gpus=rows, xids=[[i, 0, None, i]])))\n"
    )
    watch = begin(Pace(period=20.0))
    process = psutil.Process()

    def after(lines: int) -> tuple[int, int]:
        wait_until(lambda: max(watch._knowledge.xids.get("GPU-0", {0: 0.0})) > lines)
        return tracemalloc.get_traced_memory()[0], process.num_fds()

    tracemalloc.start()
    memory, descriptors = after(1000)
    later, descriptors_later = after(3000)
    tracemalloc.stop()
    assert descriptors_later == descriptors
    assert later - memory < 400_000  # the chunk that is being read is 64 KiB, and as much again as lines
