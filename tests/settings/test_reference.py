"""The example file and README's table say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfy_supervisor.settings import FILE_NAME, Settings, load, reference
from comfy_supervisor.settings.complaints import key_paths


def test_the_example_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_text(reference.example(), encoding="utf-8")
    assert load(file, {}).settings == Settings()


def test_with_every_default_spelled_out_it_still_changes_nothing(tmp_path: Path) -> None:
    """What stands behind each # is the real default, in valid TOML."""
    lines = reference.example().splitlines()
    keys = {path[-1] for path, _ in key_paths(Settings)}
    spelled = [line.removeprefix("# ") if line.removeprefix("# ").split(" = ")[0] in keys else line for line in lines]
    file = tmp_path / FILE_NAME
    file.write_text("\n".join(spelled), encoding="utf-8")
    assert load(file, {}).settings == Settings()


@pytest.mark.parametrize("value", ['/a "b"', "/ä", "/a\\b", "/a#b"])
def test_what_was_found_is_filled_in(value: str, tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_text(reference.example({"comfyui.directory": value}), encoding="utf-8")
    assert load(file, {}).settings.comfyui.directory == value


def test_every_number_of_the_example_says_its_unit() -> None:
    units = ("seconds", "bytes", "GB", "a port", "a number")
    lines = reference.example().splitlines()
    numbers = [at for at, line in enumerate(lines) if re.search(r" = (\d+|\"\d+MiB\")$", line)]
    assert len(numbers) > 20
    for at in numbers:
        assert re.search(rf"\(.*({'|'.join(units)}).*\)$", lines[at - 1]), lines[at]


def test_every_key_says_what_it_is_for() -> None:
    assert all(known.description for _, known in key_paths(Settings))
