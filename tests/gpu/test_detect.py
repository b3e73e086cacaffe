"""What ``detect`` says of machines of all sorts, through the real pynvml."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from comfy_supervisor.gpu import detect
from comfy_supervisor.model import Driver, Gpu, GpuReport, GpuState
from tests.nvml import KNOWN_CARDS, Card, Instance, Nvml


@pytest.fixture(autouse=True)
def on_this_machine(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in nvml.environ.items():
        monkeypatch.setenv(name, value)


def trouble(report: GpuReport) -> str:
    """The report's one line about the driver."""
    assert report.gpus == ()
    assert report.text
    assert len(report.text.splitlines()) == 1
    return report.text


def one_gpu(report: GpuReport) -> Gpu:
    assert (report.driver, report.text) == (Driver.OK, "")
    (gpu,) = report.gpus
    return gpu


def test_every_known_card_is_read_as_it_is(nvml: Nvml) -> None:
    nvml.cards(list(KNOWN_CARDS), driver="570.86.10", cuda=12080)
    report = detect()
    assert (report.driver, report.text) == (Driver.OK, "")
    assert (report.driver_version, report.cuda_version) == ("570.86.10", "12.8")
    assert {gpu.name: gpu.memory_mib for gpu in report.gpus} == KNOWN_CARDS
    assert report.usable == report.gpus
    assert report.gpus[2] == Gpu(
        index=2,
        uuid="GPU-00000002-0000-0000-0000-000000000000",
        name="NVIDIA A100-SXM4-80GB",
        memory_mib=81920,
        pci="00000000:03:00.0",
    )


def test_driver_is_never_loaded_in_this_process(nvml: Nvml) -> None:
    nvml.cards(["NVIDIA GeForce RTX 4090"])
    assert detect().usable
    assert "pynvml" not in sys.modules


class TestDriver:
    """Each trouble with the driver is a state and one line with its mend."""

    @pytest.mark.parametrize(
        ("error", "driver", "words"),
        [
            ("DRIVER_NOT_LOADED", Driver.NOT_LOADED, ["modprobe nvidia", "--gpus all"]),
            ("LIB_RM_VERSION_MISMATCH", Driver.MISMATCH, ["different versions", "reboot", "reload the module"]),
            ("NO_PERMISSION", Driver.NO_PERMISSION, ["/dev/nvidia*"]),
            ("UNKNOWN", Driver.BROKEN, ["unknown error", "dmesg"]),
            ("OPERATING_SYSTEM", Driver.BROKEN, ["operating system", "nvidia-smi"]),
            ("TIMEOUT", Driver.BROKEN, ["Timeout"]),
            ("GPU_NOT_FOUND", Driver.BROKEN, ["nvidia-smi"]),
        ],
    )
    @pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetCount_v2"])
    def test_error_of_nvml(self, nvml: Nvml, function: str, error: str, driver: Driver, words: list[str]) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4090"])
        nvml.fail(error, function)
        report = detect()
        assert report.driver is driver
        assert [word for word in words if word not in trouble(report)] == []

    def test_hardware_without_library(self, nvml: Nvml) -> None:
        nvml.hardware("00000000:01:00.0")
        report = detect()
        assert report.driver is Driver.NO_LIBRARY
        assert "install NVIDIA's driver" in trouble(report)
        assert "container" in report.text

    def test_neither_hardware_nor_library(self) -> None:
        report = detect()
        assert report.driver is Driver.NO_HARDWARE
        assert "CPU" in trouble(report)

    @pytest.mark.parametrize("error", ["DRIVER_NOT_LOADED", "NOT_FOUND", "GPU_NOT_FOUND"])
    def test_library_that_finds_nothing_on_a_machine_without_hardware(self, nvml: Nvml, error: str) -> None:
        nvml.fail(error)
        report = detect()
        assert report.driver is Driver.NO_HARDWARE
        assert trouble(report)

    @pytest.mark.parametrize("has_library", [True, False])
    @pytest.mark.parametrize(
        ("file", "content", "words"),
        [
            ("dev/dxg", b"", ("WSL 2", "driver in Windows")),
            ("dev/nvhost-ctrl-gpu", b"", ("Tegra", "JetPack")),
            ("proc/device-tree/compatible", b"nvidia,p3737\0nvidia,tegra234\0", ("Tegra", "JetPack")),
        ],
    )
    def test_a_gpu_that_is_on_no_bus_is_no_machine_for_the_cpu(
        self, nvml: Nvml, tmp_path: Path, file: str, content: bytes, words: tuple[str, ...], has_library: bool
    ) -> None:
        if has_library:
            nvml.cards([])
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_bytes(content)
        report = detect(root=tmp_path)
        assert report.driver is Driver.BROKEN
        assert [word for word in words if word not in trouble(report)] == []
        nvml.cards(["NVIDIA GeForce RTX 4070"])
        nvml.hardware()
        assert detect(root=tmp_path).driver is Driver.OK

    def test_another_makers_board_is_one(self, tmp_path: Path) -> None:
        (tmp_path / "proc" / "device-tree").mkdir(parents=True)
        (tmp_path / "proc" / "device-tree" / "compatible").write_bytes(b"raspberrypi,5-model-b\0brcm,bcm2712\0")
        assert detect(root=tmp_path).driver is Driver.NO_HARDWARE

    def test_errors_of_another_kind_are_told_even_without_hardware(self, nvml: Nvml) -> None:
        """WSL 2 has no PCI device for its GPU: a broken driver there is no reason to take the CPU."""
        nvml.fail("OPERATING_SYSTEM")
        assert detect().driver is Driver.BROKEN

    def test_gpu_that_the_pci_bus_does_not_show(self, nvml: Nvml) -> None:
        """NVML's word wins."""
        nvml.cards(["NVIDIA GeForce RTX 4070"])
        nvml.hardware()
        assert one_gpu(detect()).name == "NVIDIA GeForce RTX 4070"

    def test_working_driver_without_a_gpu_despite_hardware(self, nvml: Nvml) -> None:
        nvml.cards([], driver="550.54.15")
        nvml.hardware("00000000:01:00.0")
        report = detect()
        assert (report.driver, report.driver_version) == (Driver.BROKEN, "550.54.15")
        assert "shows no GPU" in trouble(report)

    def test_working_driver_without_a_gpu_nor_hardware(self, nvml: Nvml) -> None:
        nvml.cards([])
        assert detect().driver is Driver.NO_HARDWARE

    @pytest.mark.parametrize(
        "field", ["nvmlSystemGetDriverVersion", "nvmlSystemGetCudaDriverVersion_v2"], ids=["driver", "cuda"]
    )
    def test_version_that_cannot_be_read_costs_nothing_else(self, nvml: Nvml, field: str) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4090"])
        nvml.fail("UNKNOWN", field)
        report = detect()
        assert one_gpu(report).state is GpuState.OK
        assert "" in {report.driver_version, report.cuda_version}

    def test_library_that_prints_on_standard_output(self, nvml: Nvml) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4090"])
        nvml.print()
        assert one_gpu(detect()).state is GpuState.OK


class TestDeath:
    """A driver that hangs or dies takes only the helper along."""

    @pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetMemoryInfo"])
    def test_hang(self, nvml: Nvml, function: str) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4090"])
        nvml.hang(function)
        begin = time.monotonic()
        report = detect(deadline=1.5)
        assert 1.5 <= time.monotonic() - begin < 10
        assert report.driver is Driver.HANGS
        assert "no answer within 1.5 s" in trouble(report)
        assert "dmesg" in report.text

    @pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetUUID"])
    def test_crash(self, nvml: Nvml, function: str) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4090"])
        nvml.crash(function)
        report = detect()
        assert report.driver is Driver.BROKEN
        assert "Segmentation fault" in trouble(report)

    def test_silent_exit(self, nvml: Nvml) -> None:
        nvml.exit()
        report = detect()
        assert report.driver is Driver.BROKEN
        assert "can't ask NVML" in trouble(report)


class TestOneAmongMany:
    """What is wrong with one GPU costs no other."""

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            ("GPU_IS_LOST", "fallen off the bus"),
            ("RESET_REQUIRED", "nvidia-smi --gpu-reset"),
            ("INSUFFICIENT_POWER", "power cables"),
            ("IRQ_ISSUE", "interrupts"),
            ("UNKNOWN", "mostly it has fallen off the bus"),
        ],
    )
    def test_lost_gpu_among_eight(self, nvml: Nvml, error: str, words: str) -> None:
        """Its place is known all the same: it is the one on the bus that no other GPU claims."""
        nvml.cards([Card("NVIDIA H100 80GB HBM3")] * 8)
        nvml.fail(error, "nvmlDeviceGetHandleByIndex_v2", card=3)
        report = detect()
        assert (report.driver, report.text) == (Driver.OK, "")
        assert [gpu.index for gpu in report.usable] == [0, 1, 2, 4, 5, 6, 7]
        lost = report.gpus[3]
        assert (lost.index, lost.state, lost.uuid, lost.pci) == (3, GpuState.LOST, "", "00000000:04:00.0")
        assert words in lost.problem

    def test_lost_gpu_whose_handle_still_works(self, nvml: Nvml) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4090"] * 2)
        nvml.fail("GPU_IS_LOST", "nvmlDeviceGetMemoryInfo", card=1)
        lost = detect().gpus[1]
        assert (lost.state, lost.memory_mib) == (GpuState.LOST, 0)
        assert lost.uuid == "GPU-00000001-0000-0000-0000-000000000000"

    def test_place_of_a_lost_gpu_is_not_guessed(self, nvml: Nvml) -> None:
        """A container sees the whole PCI bus, but not every GPU."""
        nvml.cards(["NVIDIA GeForce RTX 4090"] * 2)
        nvml.hardware(*(f"00000000:{bus}:00.0" for bus in ("01", "02", "03", "04")))
        nvml.fail("GPU_IS_LOST", "nvmlDeviceGetHandleByIndex_v2", card=1)
        assert detect().gpus[1].pci == ""

    @pytest.mark.parametrize(
        ("function", "words"),
        [
            ("nvmlDeviceGetUUID", "UUID: Unknown Error"),
            ("nvmlDeviceGetMemoryInfo", "memory size: Unknown Error"),
        ],
    )
    def test_needed_field(self, nvml: Nvml, function: str, words: str) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4090"] * 2)
        nvml.fail("UNKNOWN", function, card=0)
        bad, good = detect().gpus
        assert (bad.state, good.state) == (GpuState.UNREADABLE, GpuState.OK)
        assert words in bad.problem
        assert (bad.name, bad.pci) == (good.name, "00000000:01:00.0")

    def test_handle_without_permission(self, nvml: Nvml) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4090"] * 2)
        nvml.fail("NO_PERMISSION", "nvmlDeviceGetHandleByIndex_v2", card=0)
        bad, good = detect().gpus
        assert (bad.state, good.state) == (GpuState.UNREADABLE, GpuState.OK)
        assert "Permissions" in bad.problem

    @pytest.mark.parametrize(
        ("function", "missing"),
        [
            ("nvmlDeviceGetName", {"name": ""}),
            ("nvmlDeviceGetPciInfo_v3", {}),  # the PCI bus tells
            ("nvmlDeviceGetMigMode", {}),
            ("nvmlDeviceGetMaxMigDeviceCount", {}),
        ],
    )
    def test_field_one_can_do_without(self, nvml: Nvml, function: str, missing: dict[str, str]) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4090"])
        healthy = one_gpu(detect())
        nvml.fail("UNKNOWN", function)
        assert vars(one_gpu(detect())) == {**vars(healthy), **missing}

    def test_name_that_is_no_utf8(self, nvml: Nvml) -> None:
        nvml.cards([Card(os.fsdecode(b"NVIDIA \xff"), memory_mib=8192)])
        gpu = one_gpu(detect())
        assert (gpu.state, gpu.memory_mib) == (GpuState.OK, 8192)


class TestSharedMemory:
    """A GPU without memory of its own has the machine's."""

    def test_not_supported(self, nvml: Nvml) -> None:
        nvml.cards([Card("NVIDIA GB10", memory_mib=0)])
        nvml.fail("NOT_SUPPORTED", "nvmlDeviceGetMemoryInfo")
        gpu = one_gpu(detect())
        assert (gpu.state, gpu.memory_mib) == (GpuState.OK, self.machine_memory_mib())

    def test_zero(self, nvml: Nvml) -> None:
        nvml.cards([Card("NVIDIA GB10", memory_mib=0)])
        assert one_gpu(detect()).memory_mib == self.machine_memory_mib()

    def machine_memory_mib(self) -> int:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2


class TestMig:
    """A GPU in MIG mode is replaced by its instances."""

    def test_instances_stand_for_their_gpu(self, nvml: Nvml) -> None:
        """Each with its own UUID, name and memory, and its GPU's index and place; empty slots don't matter."""
        small = Instance("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4864, "MIG-aaaa")
        large = Instance("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 19968, "MIG-bbbb")
        cut = Card("NVIDIA A100-SXM4-40GB", mig=1, instances=(Instance(), small, Instance(), large))
        nvml.cards([Card("NVIDIA A100-SXM4-40GB", mig=0), cut, "NVIDIA GeForce RTX 4090"])
        report = detect()
        assert [(gpu.index, gpu.mig) for gpu in report.usable] == [(0, False), (1, True), (1, True), (2, False)]
        assert report.gpus[2] == Gpu(1, "MIG-bbbb", large.name, 19968, "00000000:02:00.0", mig=True)

    def test_mode_without_instances(self, nvml: Nvml) -> None:
        nvml.cards([Card("NVIDIA A100-SXM4-40GB", mig=1)])
        gpu = one_gpu(detect())
        assert (gpu.state, gpu.mig) == (GpuState.UNREADABLE, False)
        assert "MIG mode without an instance" in gpu.problem
        assert "nvidia-smi mig" in gpu.problem

    def test_instances_of_a_lost_gpu(self, nvml: Nvml) -> None:
        nvml.cards([Card("NVIDIA A100-SXM4-40GB", mig=1, instances=(Instance("1g.5gb", 4864, "MIG-aaaa"),))])
        nvml.fail("GPU_IS_LOST", "nvmlDeviceGetMemoryInfo")
        gpu = one_gpu(detect())
        assert (gpu.uuid, gpu.state) == ("MIG-aaaa", GpuState.LOST)
