"""The folders that ComfyUI is told of beside its own, as its interpreter reads them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from comfy_supervisor.comfyui import model_paths
from comfy_supervisor.model import Installation
from tests.support import answering, make_program

EXAMPLE = """
#comfyui:
#     base_path: path/to/comfyui/
mine:
     base_path: ~/models
     is_default: true
     checkpoints: checkpoints/
     text_encoders: |
          text_encoders/
          /disk/clip
empty:
other:
    custom_nodes: ../nodes
"""
YAML = """
import json

def safe_load(stream):
    return json.loads(stream.read())
"""
"""What the tests' own interpreter may lack, and ComfyUI's has: here with JSON, which is YAML."""


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """Give a ComfyUI whose interpreter reads YAML as far as it is JSON."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "yaml.py").write_text(YAML)
    python = make_program(tmp_path / "python", f'PYTHONPATH={tmp_path}/packages exec {sys.executable} "$@"')
    (tmp_path / "ComfyUI").mkdir()
    return Installation(tmp_path / "ComfyUI", python, "0.33.0")


def test_a_file_is_read_as_comfyui_reads_it(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "ComfyUI" / "extra.yaml"
    file.parent.mkdir()
    file.write_text(EXAMPLE)
    python = Installation(file.parent, Path(sys.executable), "0.33.0")
    found = model_paths.folders(python, [file], None)
    home = Path.home() / "models"
    assert found == [home / "checkpoints", home / "text_encoders", Path("/disk/clip"), tmp_path / "nodes"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], []),
        (["--extra-model-paths-config", "a.yaml", "/b.yaml", "--fast"], ["{}/a.yaml", "/b.yaml"]),
        (["--extra=/a.yaml", "--cpu", "--extra-model", "/b.yaml"], ["/a.yaml", "/b.yaml"]),
    ],
)
def test_options_name_files(arguments: Sequence[str], named: Sequence[str], tmp_path: Path) -> None:
    assert model_paths.files(tmp_path, arguments) == [Path(name.format(tmp_path)) for name in named]
    own = tmp_path / "extra_model_paths.yaml"
    own.write_text("")
    assert model_paths.files(tmp_path, arguments)[0] == own


def test_what_can_not_be_read_names_nothing_and_hides_nothing(installation: Installation) -> None:
    files = [installation.directory / f"{name}.yaml" for name in ("none", "damaged", "list", "number", "good")]
    for file, text in zip(files[1:], ["{", "[]", '{"a": {"loras": 7}}', '{"a": {"loras": "/loras"}}'], strict=True):
        file.write_text(text)
    assert model_paths.folders(installation, files, None) == [Path("/loras")]


def test_an_interpreter_that_does_not_answer_names_nothing(installation: Installation) -> None:
    broken = Installation(installation.directory, make_program(installation.directory / "broken", "exit 1"), "")
    file = installation.directory / "extra.yaml"
    file.write_text("{}")
    assert model_paths.folders(broken, [file], None) == []


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("{}", []),
        ("[1]", []),
        ('"/a"', []),
        ('{"folders": null}', []),
        ('{"folders": "/a"}', []),
        ('{"folders": {"/a": 1}}', []),
        ('{"folders": [1, null, ["/a"], {}, "", "here", "/b", "/b"]}', ["/b"]),
    ],
)
def test_of_an_answer_of_any_shape_only_whole_paths_are_believed(
    answer: str, found: list[str], installation: Installation
) -> None:
    python = answering(installation.directory / "strange", answer)
    file = installation.directory / "extra.yaml"
    file.write_text("{}")
    assert model_paths.folders(Installation(installation.directory, python, ""), [file], None) == [*map(Path, found)]


def test_home_is_that_of_the_account(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    file = installation.directory / "extra.yaml"
    file.write_text('{"a": {"base_path": "~/m", "vae": "vae"}}')
    monkeypatch.setenv("HOME", "/home/artist")
    assert model_paths.folders(installation, [file], None) == [Path("/home/artist/m/vae")]
