"""The driver, the GPUs and the instances, through the real pynvml."""

from __future__ import annotations

from comfy_supervisor.doctor import hardware
from comfy_supervisor.doctor.finding import Verdict

from .conftest import Machine, one

CARD = "NVIDIA GeForce RTX 4090"


def test_machine_without_a_gpu(box: Machine) -> None:
    patient = box.meet()
    driver = one(hardware.driver(patient))
    assert driver.verdict is Verdict.OK
    assert "ComfyUI can only run on the CPU" in driver.found
    assert one(hardware.instances(patient)).found == f"comfyui: the CPU, port {box.port}"


def test_cpu_by_choice(box: Machine) -> None:
    box.nvml.cards([CARD])
    box.nvml.hang()
    box.configure(gpu__devices='"cpu"')
    assert 'gpu.devices = "cpu"' in one(hardware.driver(box.meet())).found


def test_driver_that_works(box: Machine) -> None:
    box.nvml.cards([CARD, "NVIDIA GeForce RTX 4070"])
    box.configure(gpu__devices='"all"')
    patient = box.meet()
    assert one(hardware.driver(patient)).found == "NVIDIA 550.54.15, CUDA up to 12.4; 2 GPUs"
    assert list(hardware.gpus(patient)) == []
    assert [one.found for one in hardware.instances(patient)] == [
        f"comfyui:gpu0: GPU 0, {CARD}, 24 GB, tier gpu-only, port {box.port}",
        f"comfyui:gpu1: GPU 1, NVIDIA GeForce RTX 4070, 12 GB, tier normalvram, port {box.port + 1}",
    ]


def test_driver_in_trouble(box: Machine) -> None:
    box.nvml.cards([CARD])
    box.nvml.fail("LIB_RM_VERSION_MISMATCH")
    patient = box.meet()
    found = one(hardware.driver(patient))
    assert found.verdict is Verdict.PROBLEM
    assert "different versions" in found.found
    assert 'gpu.devices = "cpu"' in found.mend
    assert list(hardware.instances(patient)) == []


def test_one_gpu_lost_among_two(box: Machine) -> None:
    box.nvml.cards([CARD, CARD])
    box.nvml.fail("GPU_IS_LOST", "nvmlDeviceGetHandleByIndex_v2", card=0)
    patient = box.meet()
    lost = one(hardware.gpus(patient))
    assert lost.verdict is Verdict.WARNING
    assert lost.found.startswith("GPU 0 00000000:01:00.0: it has fallen off the bus")
    assert one(hardware.instances(patient)).verdict is Verdict.OK


def test_the_only_gpu_is_lost(box: Machine) -> None:
    box.nvml.cards([CARD])
    box.nvml.fail("GPU_IS_LOST", "nvmlDeviceGetHandleByIndex_v2", card=0)
    found = one(hardware.instances(box.meet()))
    assert found.verdict is Verdict.PROBLEM
    assert "no GPU can be used" in found.found


def test_what_cannot_be_meant_is_a_problem(box: Machine) -> None:
    box.nvml.cards([CARD])
    box.configure(gpu__devices='["GPU-nowhere"]')
    found = one(hardware.instances(box.meet()))
    assert found.verdict is Verdict.PROBLEM
    assert "GPU-nowhere" in found.found


def test_option_that_comfyui_refuses_is_a_problem(box: Machine) -> None:
    box.configure(comfyui__extra_args='["--port-of-call"]')
    found = one(hardware.instances(box.meet()))
    assert found.verdict is Verdict.PROBLEM
    assert "unrecognized arguments: --port-of-call" in found.found
    assert found.mend == "look at comfyui.extra_args = --port-of-call"


def test_dynamic_vram_note_names_the_setting_that_leaves_it_on(box: Machine) -> None:
    box.nvml.cards([CARD])
    notes = [(one.verdict, one.found, one.mend) for one in hardware.notes(box.meet()) if "dynamic" in one.found]
    assert notes == [
        (Verdict.WARNING, "--gpu-only switches dynamic VRAM off", 'gpu.policy = "dynamic" leaves it on'),
    ]
    box.configure(gpu__policy='"dynamic"')
    assert [one for one in hardware.notes(box.meet()) if "dynamic" in one.found] == []


def test_notes_on_an_open_api(box: Machine) -> None:
    box.configure(comfyui__listen='"0.0.0.0"', comfyui__cors_origin='"*"', security__expose="true")
    found = " ".join(one.found for one in hardware.notes(box.meet()))
    assert "0.0.0.0 and has no password" in found
    assert "origin check" in found
