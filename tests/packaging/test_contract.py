"""Who imports whom: setup.cfg's contract, kept, and able to find a breach."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

pytestmark = [pytest.mark.packaging, pytest.mark.xdist_group("packaging")]


@pytest.fixture
def unpacked_wheel(wheel: Path, tmp_path: Path) -> Path:
    """The wheel's files: only there do all rooms lie in one folder, conf and eventlisteners among them."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", ROOT / "setup.cfg", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_wheel_keeps_the_import_contract(unpacked_wheel: Path) -> None:
    done = _lint_imports(unpacked_wheel)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("eventlisteners/guilty", "import comfy_supervisor.cli"),
        ("extension/comfy_supervisor_bridge/guilty", "import comfy_supervisor.errors"),
        ("extension/comfy_supervisor_bridge/guilty", "def late():\n    import aiohttp"),
        ("flags", "import comfy_supervisor.gpu"),
        ("gpu/guilty", "import pynvml"),
        ("gpu/guilty", "import comfy_supervisor.settings"),
        ("guilty", "a_room_without_a_place = True"),
        ("launch/guilty", "import comfy_supervisor.errors"),
        ("launch/guilty", "import psutil"),
        ("model", "import comfy_supervisor.errors"),
        ("plan", "def late():\n    import click"),
        ("rpc", "import comfy_supervisor.cli"),
        ("standin/guilty", "import comfy_supervisor.settings"),
        ("status", "import torch"),
    ],
)
def test_a_breach_of_the_contract_is_found(module: str, line: str, unpacked_wheel: Path) -> None:
    with (unpacked_wheel / f"comfy_supervisor/{module}.py").open("a") as file:
        file.write(f"\n{line}\n")
    done = _lint_imports(unpacked_wheel)
    assert done.returncode == 1
    assert f"comfy_supervisor.{module.replace('/', '.')}" in " ".join(done.stdout.split())
