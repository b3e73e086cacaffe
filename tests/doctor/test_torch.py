"""ComfyUI's Python and torch: pure judgements, and one look at a real interpreter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor.comfyui.torch import TorchFacts
from comfy_supervisor.doctor import torch
from comfy_supervisor.doctor.finding import Verdict
from comfy_supervisor.model import Driver, GpuReport, Invocation
from tests.comfyui.test_torch import fake_torch
from tests.support import make_program, needs_comfyui

from .conftest import Machine, one

PYTHON = Path("/opt/comfy/bin/python")
WORKS = TorchFacts(
    python="3.11.7",
    torch="2.8.0+cu128",
    cuda="12.8",
    cuda_available=True,
    device_count=1,
    device_names=("NVIDIA GeForce RTX 4090",),
    arch_list=("sm_80", "sm_90"),
)
BLIND = replace(WORKS, cuda_available=False, device_count=0, device_names=(), arch_list=())
TOO_NEW = (
    "NVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current PyTorch installation. "
    "The current PyTorch install supports CUDA capabilities sm_80 sm_90."
)
"""torch's own words: a warning of torch/cuda/__init__.py."""


def driver(cuda: str) -> GpuReport:
    return GpuReport(Driver.OK, driver_version="550.54.15", cuda_version=cuda)


@pytest.mark.parametrize(
    ("version", "verdict"), [("3.10.0", Verdict.OK), ("3.13.1", Verdict.OK), ("3.9.18", Verdict.PROBLEM)]
)
def test_python(version: str, verdict: Verdict) -> None:
    assert one(torch.python(TorchFacts(python=version))).verdict is verdict


def test_torch_that_works() -> None:
    build, sight = torch.torch(WORKS, PYTHON, gpus=1)
    assert (build.verdict, build.found) == (Verdict.OK, "2.8.0+cu128, CUDA 12.8")
    assert (sight.verdict, sight.found) == (Verdict.OK, "torch sees NVIDIA GeForce RTX 4090")


def test_a_build_without_cuda_does_for_the_cpu_only() -> None:
    cpu = TorchFacts(python="3.11.7", torch="2.8.0+cpu")
    assert one(torch.torch(cpu, PYTHON, gpus=0)).verdict is Verdict.OK
    found = one(torch.torch(cpu, PYTHON, gpus=1))
    assert (found.verdict, found.found) == (Verdict.PROBLEM, "2.8.0+cpu, built without CUDA")
    assert str(PYTHON) in found.mend


def test_no_torch() -> None:
    facts = TorchFacts(python="3.11.7", error="ModuleNotFoundError: No module named 'torch'")
    found = one(torch.torch(facts, PYTHON, gpus=0))
    assert found.verdict is Verdict.PROBLEM
    assert "No module named 'torch'" in found.found
    assert found.mend.startswith(f"{PYTHON} -m pip install")
    system = one(torch.torch(facts, Path("/usr/bin/python3"), gpus=0)).mend
    assert system.startswith("/usr/bin/python3 -m venv venv && venv/bin/python -m pip install -r requirements.txt")


@pytest.mark.parametrize(
    ("facts", "gpus", "verdict", "words"),
    [
        (replace(BLIND, error="the NVIDIA driver is too old"), 1, Verdict.PROBLEM, "the NVIDIA driver is too old"),
        (BLIND, 1, Verdict.PROBLEM, "does not say why"),
        (replace(WORKS, error=TOO_NEW), 1, Verdict.PROBLEM, "sm_120 is not compatible"),
        (WORKS, 2, Verdict.PROBLEM, "sees 1 of 2 GPUs"),
        (replace(WORKS, device_names=(), error="CUDA error: unknown"), 1, Verdict.PROBLEM, "CUDA error: unknown"),
        (replace(WORKS, error="CUDA graphs are odd"), 1, Verdict.WARNING, "CUDA graphs are odd"),
    ],
)
def test_torch_that_cannot_use_the_gpu(facts: TorchFacts, gpus: int, verdict: Verdict, words: str) -> None:
    _, sight = torch.torch(facts, PYTHON, gpus)
    assert (sight.check, sight.verdict) == ("torch-gpu", verdict)
    assert words in sight.found
    assert sight.mend


def test_what_torch_was_built_for_is_named_where_the_gpu_is_not_among_it() -> None:
    _, sight = torch.torch(replace(WORKS, error=TOO_NEW), PYTHON, 1)
    assert sight.wanted == "one of sm_80, sm_90"


class TestCuda:
    """The driver's CUDA against torch's."""

    @pytest.mark.parametrize(
        ("speaks", "facts", "verdict"),
        [
            ("12.8", WORKS, Verdict.OK),
            ("13.0", WORKS, Verdict.OK),
            ("12.2", WORKS, Verdict.WARNING),
            ("11.8", BLIND, Verdict.PROBLEM),
            ("11.8", WORKS, Verdict.WARNING),
        ],
        ids=["same", "newer", "minor version compatibility", "older major", "forward compatibility package"],
    )
    def test_verdict(self, speaks: str, facts: TorchFacts, verdict: Verdict) -> None:
        found = one(torch.cuda(facts, driver(speaks)))
        assert found.verdict is verdict
        assert f"speaks CUDA {speaks}, torch was built for 12.8" in found.found

    def test_mend_names_the_driver_that_is_needed(self) -> None:
        facts = replace(BLIND, cuda="13.0")
        mend = one(torch.cuda(facts, driver("12.4"))).mend
        assert "580 or later" in mend
        assert "torch built for CUDA 12" in mend

    def test_nothing_is_said_of_a_driver_whose_cuda_is_unknown(self) -> None:
        assert list(torch.cuda(WORKS, driver(""))) == []

    def test_nothing_is_said_of_a_build_whose_cuda_is_no_version(self) -> None:
        assert list(torch.cuda(replace(WORKS, cuda="of a kind"), driver("12.4"))) == []


def test_environment_shows_torch_all_gpus_that_the_instances_have() -> None:
    def visible(*devices: str) -> str:
        invocations = [Invocation((), {"CUDA_VISIBLE_DEVICES": device}, "") for device in devices]
        return torch.environment(invocations)["CUDA_VISIBLE_DEVICES"]

    assert visible("0", "2") == "0,2"
    assert visible("GPU-a", "MIG-b", "MIG-c") == "MIG-b"
    assert visible("") == visible() == ""


class TestInterpreter:
    """Asked, not told."""

    def test_with_gpu(self, box: Machine) -> None:
        """A torch of the test's own is found on PYTHONPATH, and says what the real one would."""
        box.nvml.cards(["NVIDIA GeForce RTX 4090"], cuda=12080)
        environment = fake_torch(box.folder)
        box.configure(comfyui__environment=f'{{PYTHONPATH = "{environment["PYTHONPATH"]}"}}')
        found = {one.check: one for one in torch.interpreter(box.meet())}
        assert list(found) == ["python", "torch", "torch-gpu", "cuda"]
        assert {one.verdict for one in found.values()} == {Verdict.OK}
        assert found["torch-gpu"].found == "torch sees Card 0"

    def test_import_that_crashes_is_blamed_on_torch(self, box: Machine) -> None:
        (box.folder / "torch.py").write_text("import os\nos.abort()\n")
        box.configure(comfyui__environment=f'{{PYTHONPATH = "{box.folder}"}}')
        found = one(torch.interpreter(box.meet()))
        assert (found.check, found.verdict) == ("torch", Verdict.PROBLEM)
        assert "exit status -6" in found.found

    def test_interpreter_that_does_not_run_is_told_once(self, box: Machine) -> None:
        """ComfyUI's command line could not be read with it, which is told already."""
        box.configure(comfyui__python=f'"{make_program(box.folder / "python", "exit 3")}"')
        patient = box.meet()
        assert isinstance(patient.accepted, Exception)
        assert list(torch.interpreter(patient)) == []

    def test_stand_in_needs_none(self, box: Machine) -> None:
        box.configure(comfyui__directory='"standin"')
        assert list(torch.interpreter(box.meet())) == []

    @needs_comfyui
    def test_real_one(self, box: Machine) -> None:
        box.use_real_comfyui()
        found = {one.check: one.verdict for one in torch.interpreter(box.meet())}
        assert found == {"python": Verdict.OK, "torch": Verdict.OK}
