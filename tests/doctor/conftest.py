"""A machine of a test's own: a small ComfyUI, its settings, and no GPU unless the test puts one in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from comfy_supervisor.doctor.finding import Finding
from comfy_supervisor.doctor.patient import Patient, meet
from tests.nvml import Nvml
from tests.support import free_port, make_comfyui

REAL = {
    "comfyui.directory": f'"{os.environ.get("COMFYUI_DIR", "")}"',
    "comfyui.python": f'"{os.environ.get("COMFYUI_PYTHON", "")}"',
}
"""The settings that mean a real ComfyUI, where the tests were given one."""

CLI_ARGS = """\
import argparse

import comfy.options

parser = argparse.ArgumentParser()
for switch in ("--disable-auto-launch", "--use-sage-attention", "--disable-dynamic-vram"):
    parser.add_argument(switch, action="store_true")
for option in ("--listen", "--enable-cors-header"):
    parser.add_argument(option)
for folder in ("temp", "output", "user", "base"):
    parser.add_argument(f"--{folder}-directory")
parser.add_argument("--port", type=int)
parser.add_argument("--cuda-device", type=int)
for switches in (("--gpu-only", "--highvram", "--lowvram", "--cpu"), ("--cuda-malloc", "--disable-cuda-malloc")):
    group = parser.add_mutually_exclusive_group()
    for switch in switches:
        group.add_argument(switch, action="store_true")
args = parser.parse_args(None if comfy.options.args_parsing else [])
"""


class Machine:
    """What the doctor is to look at."""

    def __init__(self, folder: Path, nvml: Nvml) -> None:
        """Lay a ComfyUI and its settings down in a folder."""
        self.folder = folder
        self.nvml = nvml
        self.state = folder / "state"
        self.comfyui = make_comfyui(folder / "ComfyUI", CLI_ARGS)
        (self.comfyui / "main.py").write_text("import time\ntime.sleep(1000)\n")
        self.port = free_port()
        self.file = folder / "settings.toml"
        self.settings: dict[str, str] = {
            "comfyui.directory": f'"{self.comfyui}"',
            "comfyui.python": f'"{sys.executable}"',
            "comfyui.port": str(self.port),
            "paths.state": f'"{self.state}"',
        }
        self.configure()

    def configure(self, **settings: str) -> None:
        """Set settings: ``comfyui__port="8189"``; each value is written as it is."""
        self.settings.update({key.replace("__", "."): value for key, value in settings.items()})
        self.file.write_text("".join(f"{key} = {value}\n" for key, value in self.settings.items()))

    def use_real_comfyui(self) -> None:
        """Have the settings mean the real ComfyUI."""
        self.settings.update(REAL)
        self.configure()

    def meet(self) -> Patient:
        """Look at it as the doctor does."""
        return meet(str(self.file))


def one(findings: Iterable[Finding]) -> Finding:
    """Return the only finding."""
    (finding,) = findings
    return finding


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the machine's files are."""
    return tmp_path


@pytest.fixture
def box(folder: Path, nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with a ComfyUI and without a GPU, that keeps out of this one's home and environment."""
    for name in os.environ:
        if name.startswith(("COMFY", "PYTORCH_", "CUDA_", "XDG_")):
            monkeypatch.delenv(name)
    for name, value in {**nvml.environ, "HOME": str(folder / "home")}.items():
        monkeypatch.setenv(name, value)
    return Machine(folder, nvml)
