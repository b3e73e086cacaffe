"""What is measured, and the bounds."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comfy_supervisor.cli.app import SUMMARIES
from comfy_supervisor.comfyui import find
from tests.nvml import Nvml, compile_library
from tests.support import free_port

from .measure import Command, Figures

GPUS = 8
FLEETS = (1, GPUS, 64)
"""How many GPUs it is rendered for."""
CARD = "NVIDIA GeForce RTX 4090"
OURS = str(Path(sys.executable).with_name("comfy-supervisor"))
DETECT = f"from comfy_supervisor import gpu; assert len(gpu.detect().usable) == {GPUS}"
READ = "from comfy_supervisor.comfyui import find, parser; parser.read(find.find(%r))"


@dataclass(frozen=True)
class Case:
    """One command, and what it may take."""

    name: str
    command: Command
    most_times: int = 0
    """Times an empty Python start; 0: no bound."""
    most_mib: int = 0

    def missed(self, figures: Figures, empty: Figures) -> bool:
        """Tell whether a bound was missed."""
        too_slow = self.most_times and figures.median > self.most_times * empty.median
        too_large = self.most_mib and figures.peak_mib > self.most_mib
        return bool(too_slow or too_large)


def cases(folder: Path) -> list[Case]:
    """Return what is measured, an empty Python start first; `folder` is for their files."""
    environs = {gpus: _environ(folder / str(gpus), gpus) for gpus in FLEETS}
    environ = environs[GPUS]

    def case(name: str, *argv: str, environ: Mapping[str, str] = environ, **bounds: int) -> Case:
        return Case(name, Command(argv, environ, folder), **bounds)

    python = sys.executable
    bounds = {GPUS: {"most_times": 60, "most_mib": 100}}
    renders = [
        case(
            f"render for {gpus} GPU{'s' * (gpus > 1)}, proved",
            OURS,
            "render",
            "--stdout",
            environ=made,
            **bounds.get(gpus, {}),
        )
        for gpus, made in environs.items()
    ]
    launcher = (python, "-I", "-m", "comfy_supervisor.launch", "gpu0", "--", "/bin/true")
    return [
        case("empty Python start", python, "-I", "-c", "pass"),
        case("comfy-supervisor --help", OURS, "--help", most_times=8),
        *renders,
        case("launcher, up to its exec of ComfyUI", *launcher, environ={**environ, **_instance(folder)}, most_times=3),
        case(f"detection of {GPUS} GPUs", python, "-c", DETECT),
        case("reading ComfyUI's options", python, "-c", READ % ("" if comfyui() else find.STANDIN)),
    ]


def helps(folder: Path) -> list[Case]:
    """Return an empty Python start, and the start of each command: it imports all that the command needs, and ends."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    empty = Case("empty Python start", Command((sys.executable, "-I", "-c", "pass"), environ, folder))
    return [empty, *(Case(f"{name} --help", Command((OURS, name, "--help"), environ, folder)) for name in SUMMARIES)]


def comfyui() -> str:
    """Return the folder of the real ComfyUI that is read and proved with; empty: the stand-in."""
    return os.environ.get("COMFYUI_DIR", "")


def _environ(folder: Path, gpus: int) -> dict[str, str]:
    """Return an environment of so many GPUs, in which nothing of the user's is found."""
    machine = folder / "machine"
    machine.mkdir(parents=True)
    nvml = Nvml(compile_library(folder), machine)
    nvml.cards([CARD] * gpus)
    kept = {name: os.environ[name] for name in ("PATH", "COMFYUI_DIR", "COMFYUI_PYTHON") if name in os.environ}
    settings = {"GPU__DEVICES": "all", "PATHS__STATE": str(folder / "state")}
    if not comfyui():
        settings["COMFYUI__DIRECTORY"] = find.STANDIN
    overrides = {f"COMFY_SUPERVISOR__{key}": value for key, value in settings.items()}
    return {**kept, **nvml.environ, **overrides, "HOME": str(folder)}


def _instance(folder: Path) -> dict[str, str]:
    """Return what the launcher is told; every life counts as long, so that it never backs off."""
    told = {
        "INSTANCE": "gpu0",
        "STATE": str(folder / "gpu0"),
        "RUN": str(folder / "gpu0-run"),
        "ADDRESS": f"127.0.0.1:{free_port()}",
        "BACKOFF": "10:300:0.001",
    }
    return {f"COMFY_SUPERVISOR_{name}": value for name, value in told.items()}
