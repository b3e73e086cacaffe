"""The package as its users get it: what is in the sdist and the wheel, and that the wheel works by itself."""

from __future__ import annotations

import json
import sys
import tarfile
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, build, run
from tests.support import free_port

pytestmark = [pytest.mark.packaging, pytest.mark.xdist_group("packaging"), pytest.mark.timeout(300)]

FOLDERS = {
    "comfy_supervisor": "comfy_supervisor",
    "conf": "comfy_supervisor/conf",
    "eventlisteners": "comfy_supervisor/eventlisteners",
}
"""Where a folder of the source tree goes."""


@pytest.fixture(scope="module")
def unpacked_sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build(source, "sdist")) as archive:
        archive.extractall(folder)
    (unpacked,) = folder.iterdir()
    return unpacked


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel and what it depends on; returns its folder of commands."""
    folder = tmp_path_factory.mktemp("installed")
    run([sys.executable, "-m", "venv", folder], folder)
    run([folder / "bin/python", "-m", "pip", "install", "--quiet", wheel], folder)
    return folder / "bin"


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with the stand-in for ComfyUI, on the CPU."""
    return {
        "HOME": str(tmp_path),
        "PYTHONPATH": "",
        "COMFY_SUPERVISOR__COMFYUI__DIRECTORY": "standin",
        "COMFY_SUPERVISOR__COMFYUI__PORT": str(free_port()),
        "COMFY_SUPERVISOR__GPU__DEVICES": "cpu",
        "COMFY_SUPERVISOR__PATHS__STATE": str(tmp_path / "state"),
    }


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _sources() -> set[str]:
    """Return what a wheel ought to hold: each file of the three folders, by its place in the wheel."""
    return {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, place in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not any(part == "__pycache__" or part[0] == "." for part in path.parts[len(ROOT.parts) :])
    }


def test_the_wheel_holds_every_file_and_no_other(wheel: Path) -> None:
    assert {name for name in _contents(wheel) if ".dist-info/" not in name} == _sources()


def test_the_wheel_is_typed_and_brings_its_data(wheel: Path) -> None:
    assert {
        "comfy_supervisor/py.typed",
        "comfy_supervisor/comfyui/releases.json",
        "comfy_supervisor/conf/comfy-supervisor.example.toml",
        "comfy_supervisor/conf/supervisord.conf.j2",
        "comfy_supervisor/standin/comfy/cli_args.py",
    } <= _contents(wheel).keys()


def test_the_sdist_builds_the_same_wheel(wheel: Path, unpacked_sdist: Path) -> None:
    assert _contents(build(unpacked_sdist, "wheel")) == _contents(wheel)


def test_the_sdist_holds_what_its_tests_need(unpacked_sdist: Path) -> None:
    for place in ("Makefile", "ruff.toml", "docs", "tests"):
        here = {path.relative_to(ROOT) for path in (ROOT / place).rglob("*") if path.is_file()} or {Path(place)}
        missing = {path for path in here if path.suffix != ".pyc" and not (unpacked_sdist / path).exists()}
        assert not missing


def test_an_installed_wheel_renders(installed: Path, user: dict[str, str], tmp_path: Path) -> None:
    assert "comfy-supervisor  0.1.0" in run([installed / "comfy-supervisor", "version"], tmp_path, **user)
    rendered = run([installed / "comfy-supervisor", "render", "--stdout"], tmp_path, **user)
    assert f"command={installed}/python" in rendered
    assert f"{installed.parent}/lib/" in rendered


def test_an_installed_wheel_runs(installed: Path, user: dict[str, str], tmp_path: Path) -> None:
    def ours(*arguments: str) -> str:
        return run([installed / "comfy-supervisor", *arguments], tmp_path, **user)

    ours("up", "--detach")
    try:
        (instance,) = json.loads(ours("status", "--json"))
        assert instance["state"] == "RUNNING"
        assert "comfyui" in run([installed / "supervisorctl", "status"], tmp_path)
    finally:
        ours("down")


def test_an_editable_install_finds_every_folder() -> None:
    """The one that these tests run in is one."""
    for folder in ("conf", "eventlisteners"):
        found = import_module(f"comfy_supervisor.{folder}").__file__
        assert found is not None
        assert Path(found).parent == ROOT / folder
