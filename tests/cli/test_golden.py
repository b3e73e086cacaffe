"""Whole configurations, as they were looked at and found good.

After a change that is meant: ``UPDATE_GOLDEN=1 pytest tests/cli/test_golden.py``, then read the difference.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor import __version__, machine
from comfy_supervisor.model import Account, Machine
from tests.cli.service import Service
from tests.nvml import Card, Nvml

GOLDEN = Path(__file__).parent / "golden"
MACHINE = Machine(
    me=Account("artist", 1000, 1000, Path("/home/artist")),
    home=Path("/home/artist"),
    state_home=Path("/home/artist/.local/state"),
    runtime_dir=Path("/run/user/1000"),
    lingering=False,
    shared_state=False,
    hard_fd_limit=1048576,
)
COMFYUI = {"directory": "/srv/ComfyUI", "python": "/srv/ComfyUI/venv/bin/python", "version": "0.3.64", "port": 8188}


@pytest.mark.parametrize(
    ("name", "cards", "devices"),
    [
        ("cpu", (), "auto"),
        ("one_gpu", (Card("NVIDIA GeForce RTX 4070"), Card()), "auto"),
        ("eight_gpus", (Card("NVIDIA H100 80GB HBM3"),) * 8, "all"),
    ],
)
def test_the_configuration_is_the_golden_one(
    name: str, cards: tuple[Card, ...], devices: str, gpu_service: Service, nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cards:
        nvml.cards(cards)
    home = gpu_service.folder
    box = replace(MACHINE, home=home, state_home=home / ".local" / "state")
    monkeypatch.setattr(machine, "look", lambda: box)
    gpu_service.settings(comfyui=COMFYUI, gpu={"devices": devices}, paths={"state": ""})
    text = gpu_service.ok("render", "--stdout")
    for here, anywhere in (
        (str(home), "/home/artist"),
        (sys.executable, "/opt/comfy-supervisor/bin/python"),
        (__version__, "VERSION"),
    ):
        text = text.replace(here, anywhere)
    file = GOLDEN / f"{name}.conf"
    if "UPDATE_GOLDEN" in os.environ:
        file.write_text(text)
    assert text == file.read_text()
