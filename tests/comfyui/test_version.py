"""Which version a folder says it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from comfy_supervisor.comfyui.version import read_version
from tests.support import needs_comfyui

PROJECT = '[project]\nname = "ComfyUI"\nversion = "0.2.7"\n'


def test_module_comes_first(tmp_path: Path) -> None:
    (tmp_path / "comfyui_version.py").write_text('# generated\n__version__ = "0.33.0"\n')
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    assert read_version(tmp_path) == "0.33.0"


def test_project_metadata_without_a_module(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    assert read_version(tmp_path) == "0.2.7"


def test_module_is_not_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "comfyui_version.py").write_text(f'open({str(marker)!r}, "w")\n__version__ = "1.2"\n')
    assert read_version(tmp_path) == "1.2"
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("comfyui_version.py", b"__version__ = compute()\n"),
        ("comfyui_version.py", b"__version__ = 3\n"),
        ("comfyui_version.py", b"__version__ = (\n"),
        ("comfyui_version.py", b"\0\xff"),
        ("pyproject.toml", b"[project"),
        ("pyproject.toml", b"\xff"),
        ("pyproject.toml", b"project = 3\n"),
        ("pyproject.toml", b"[project]\nversion = 3\n"),
        ("other", b""),
    ],
)
def test_unreadable_is_unknown(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_version(tmp_path) == ""


@needs_comfyui
def test_real_comfyui_says_its_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", read_version(Path(os.environ["COMFYUI_DIR"])))
