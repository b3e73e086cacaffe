"""NVIDIA's GPUs as the PCI bus shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_supervisor.gpu.pci import devices_folder, nvidia_gpus
from tests.nvml import Nvml


def pci_folder(nvml: Nvml) -> Path:
    return Path(nvml.environ["COMFY_SUPERVISOR_PCI_DEVICES"])


def test_nothing_but_nvidias_display_and_3d_controllers(nvml: Nvml) -> None:
    """Not other makers' GPUs, nor NVIDIA's audio functions, NVSwitches and network cards."""
    nvml.pci_device("00000000:C1:00.0", device_class="0x030200")
    nvml.pci_device("00000000:01:00.0", device_class="0x030000")
    nvml.pci_device("00000000:01:00.1", device_class="0x040300")
    nvml.pci_device("00000000:0A:00.0", device_class="0x068000")
    nvml.pci_device("00000000:0B:00.0", vendor="0x1002")
    assert nvidia_gpus(pci_folder(nvml)) == ("00000000:01:00.0", "00000000:C1:00.0")


def test_bus_ids_of_other_domains_are_written_as_nvml_does(nvml: Nvml) -> None:
    """A cloud's virtual machines put each GPU in a domain of its own."""
    nvml.pci_device("10000:e1:00.0")
    nvml.pci_device("0001:00:00.0")
    assert nvidia_gpus(pci_folder(nvml)) == ("00000001:00:00.0", "00010000:E1:00.0")


def test_device_that_goes_while_it_is_read(nvml: Nvml) -> None:
    nvml.pci_device("00000000:01:00.0")
    (pci_folder(nvml) / "0000:01:00.0" / "class").unlink()
    assert nvidia_gpus(pci_folder(nvml)) == ()


def test_machine_without_a_pci_bus(tmp_path: Path) -> None:
    assert nvidia_gpus(tmp_path / "devices") == ()


def test_this_machines_own_bus_can_be_read() -> None:
    assert all(len(bus_id) == len("00000000:01:00.0") for bus_id in nvidia_gpus(devices_folder()))


def test_folder_can_be_named_by_the_environment(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMFY_SUPERVISOR_PCI_DEVICES", raising=False)
    assert devices_folder() == Path("/sys/bus/pci/devices")
    monkeypatch.setenv("COMFY_SUPERVISOR_PCI_DEVICES", str(pci_folder(nvml)))
    assert devices_folder() == pci_folder(nvml)
