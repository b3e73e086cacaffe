"""What torch can do, asked in ComfyUI's interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comfy_supervisor.comfyui.find import find
from comfy_supervisor.comfyui.torch import TorchFacts, torch_facts
from comfy_supervisor.model import Installation
from tests.support import answering, make_program, needs_comfyui

PYTHON = "{}.{}.{}".format(*sys.version_info)

FAKE_TORCH = """
import os, warnings

__version__ = "2.8.0+cu128"


class version:
    cuda = "12.8"


class cuda:
    @staticmethod
    def is_available():
        {available}

    @staticmethod
    def device_count():
        return len(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(","))

    @staticmethod
    def get_arch_list():
        return ["sm_90", "sm_120"]

    @staticmethod
    def get_device_name(index):
        {name}
"""


def facts(python: str | Path = sys.executable, **options: object) -> TorchFacts:
    return torch_facts(Installation(Path("/none"), Path(python), ""), **options)  # type: ignore[arg-type]


def fake_torch(folder: Path, available: str = "return True", name: str = "return f'Card {index}'") -> dict[str, str]:
    """Write a torch of our own; returns the environment in which it is found."""
    (folder / "torch.py").write_text(FAKE_TORCH.format(available=available, name=name))
    return {"PYTHONPATH": str(folder)}


def test_all_facts(tmp_path: Path) -> None:
    found = facts(environment={**fake_torch(tmp_path), "CUDA_VISIBLE_DEVICES": "0,1"})
    assert found == TorchFacts(
        python=PYTHON,
        torch="2.8.0+cu128",
        cuda="12.8",
        cuda_available=True,
        device_count=2,
        device_names=("Card 0", "Card 1"),
        arch_list=("sm_90", "sm_120"),
    )


def test_what_is_known_stays_known_when_a_later_call_fails(tmp_path: Path) -> None:
    found = facts(environment=fake_torch(tmp_path, name="raise RuntimeError('CUDA error:\\n no kernel image')"))
    assert (found.torch, found.device_count, found.device_names) == ("2.8.0+cu128", 1, ())
    assert found.error == "RuntimeError: CUDA error: no kernel image"


def test_torchs_warning_says_why_cuda_cannot_be_used(tmp_path: Path) -> None:
    available = "warnings.warn('CUDA initialization: the NVIDIA driver is too old'); return False"
    found = facts(environment=fake_torch(tmp_path, available))
    assert (found.cuda_available, found.error) == (False, "CUDA initialization: the NVIDIA driver is too old")


def test_interpreter_without_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')\n")
    found = facts(environment={"PYTHONPATH": str(tmp_path)})
    assert found == TorchFacts(python=PYTHON, error="ImportError: libcudart.so.12: cannot open shared object file")


def test_our_own_module_is_not_taken_for_torch(tmp_path: Path) -> None:
    """Ours has the same name and lies beside the script."""
    bare = make_program(tmp_path / "python", f'exec "{sys.executable}" -S "$@"')
    assert facts(bare) == TorchFacts(python=PYTHON, error="ModuleNotFoundError: No module named 'torch'")


def test_import_that_hangs(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(600)\n")
    found = facts(deadline=0.5, environment={"PYTHONPATH": str(tmp_path)})
    assert found == TorchFacts(error=f"{sys.executable}: gave no answer within 0.5 s")


def test_import_that_crashes(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import os\nos.abort()\n")
    found = facts(environment={"PYTHONPATH": str(tmp_path)})
    assert found.error == f"{sys.executable}: ended without an answer (exit status -6)"


@pytest.mark.parametrize("python", ["/no/such/python", "/"])
def test_no_interpreter(python: str) -> None:
    assert facts(python).error.startswith(f"{python}: cannot be started: ")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("7", "TorchFacts: not an object"),
        ('{"python": 3.11}', "python: not a text"),
        ('{"python": "3.11.7", "device_count": "2"}', "device_count: not a whole number"),
        ('{"python": "3.11.7", "device_names": [null]}', "device_names.0: not a text"),
        ('{"python": "3.11.7", "error": {}}', "error: not a text"),
    ],
)
def test_interpreter_that_answers_something_else(tmp_path: Path, answer: str, why: str) -> None:
    python = answering(tmp_path / "python", answer)
    said = f"{python}: answered with something other than what was asked for ({why})"
    assert facts(python) == TorchFacts(error=said)


def test_interpreter_that_says_nothing(tmp_path: Path) -> None:
    python = answering(tmp_path / "python", "{}")
    assert facts(python) == TorchFacts(error=f"{python}: answered with less than what was asked for")


@needs_comfyui
def test_real_torch() -> None:
    found = torch_facts(find(), environment={"CUDA_VISIBLE_DEVICES": ""})
    assert (found.torch != "", found.cuda_available, found.device_count) == (True, False, 0)


def test_importing_our_modules_imports_no_torch() -> None:
    assert "torch" not in sys.modules
