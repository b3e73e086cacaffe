"""ComfyUI and the packages that it needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comfy_supervisor.doctor import installation
from comfy_supervisor.doctor.finding import Verdict
from tests.support import make_program, needs_comfyui

from .conftest import Machine, one

REQUIREMENTS = """\
comfyui-embedded-docs==0.5.9
torch
aiohttp>=3.11.8  # the server
pytest
windows-only; sys_platform == "win32"

# --extra-index-url nowhere
#non essential dependencies:
kornia>=0.7.1
"""


def test_comfyui(box: Machine) -> None:
    found = one(installation.comfyui(box.meet()))
    assert (found.verdict, found.found) == (Verdict.OK, f"0.3.64, in {box.comfyui}")


def test_no_comfyui(box: Machine) -> None:
    box.configure(comfyui__directory=f'"{box.folder}"')
    found = one(installation.comfyui(box.meet()))
    assert found.verdict is Verdict.PROBLEM
    assert f'comfyui.directory = "{box.folder}": is not ComfyUI\'s folder' in found.found
    assert found.mend == f'did you mean "{box.comfyui}"?'


def test_command_line_that_cannot_be_read(box: Machine) -> None:
    (box.comfyui / "comfy" / "cli_args.py").write_text("import nonsense_of_a_custom_build\n")
    found = list(installation.comfyui(box.meet()))
    assert [one.verdict for one in found] == [Verdict.OK, Verdict.PROBLEM]
    assert "nonsense_of_a_custom_build" in found[1].found


def test_interpreter_that_does_not_run(box: Machine) -> None:
    python = make_program(box.folder / "python", "echo 'cannot open shared object file' >&2; exit 1")
    box.configure(comfyui__python=f'"{python}"')
    _, found = installation.comfyui(box.meet())
    assert (found.verdict, found.found) == (
        Verdict.PROBLEM,
        f'comfyui.python = "{python}": cannot open shared object file',
    )


def test_an_account_that_is_not_there(box: Machine) -> None:
    box.configure(comfyui__user='"nobody-of-that-name"')
    _, found = installation.comfyui(box.meet())
    assert found.verdict is Verdict.PROBLEM
    assert found.found.startswith('comfyui.user = "nobody-of-that-name": ')


def test_stand_in_is_no_comfyui(box: Machine) -> None:
    box.configure(comfyui__directory='"standin"')
    found = one(installation.comfyui(box.meet()))
    assert found.verdict is Verdict.WARNING
    assert "stand-in" in found.found


def test_settings_for_another_machine(box: Machine) -> None:
    box.configure(comfyui__version='"0.3.64"')
    patient = box.meet()
    found = one(installation.comfyui(patient))
    assert found.verdict is Verdict.WARNING
    assert "another machine" in found.found
    assert list(installation.packages(patient)) == []


class TestPackages:
    """What ComfyUI's interpreter lacks; that is this test's own."""

    def test_none_missing(self, box: Machine) -> None:
        (box.comfyui / "requirements.txt").write_text("aiohttp>=3.11.8\npytest\n")
        found = one(installation.packages(box.meet()))
        assert (found.verdict, found.found) == (Verdict.OK, "all 2 requirements are installed")

    def test_missing(self, box: Machine) -> None:
        (box.comfyui / "requirements.txt").write_text(f"no-such-package-of-comfyui\n{REQUIREMENTS}")
        needed, optional = installation.packages(box.meet())
        assert (needed.verdict, needed.found) == (Verdict.PROBLEM, "missing: no-such-package-of-comfyui")
        assert (optional.verdict, optional.found) == (Verdict.WARNING, "missing: comfyui-embedded-docs, kornia")
        assert needed.mend.endswith(f"-m pip install -r {box.comfyui / 'requirements.txt'}")

    def test_option_that_needs_a_module(self, box: Machine) -> None:
        box.configure(comfyui__extra_args='["--use-sage-attention"]')
        found = one(installation.packages(box.meet()))
        assert found.verdict is Verdict.PROBLEM
        assert found.found == "--use-sage-attention is given, and sageattention is missing"

    def test_interpreter_that_answers_something_else(self, box: Machine) -> None:
        answer = """for last; do :; done; echo '{"missing": 7}' >"/dev/fd/$last\""""
        script = f'case "$*" in *ask_packages*) {answer} ;; *) exec "{sys.executable}" "$@" ;; esac'
        python = make_program(box.folder / "python", script)
        box.configure(comfyui__python=f'"{python}"')
        found = one(installation.packages(box.meet()))
        assert (found.verdict, found.found) == (
            Verdict.PROBLEM,
            f"{python}: answered with something other than what was asked for (missing: not a list)",
        )

    @needs_comfyui
    def test_real_one(self, box: Machine) -> None:
        box.use_real_comfyui()
        assert one(installation.packages(box.meet())).verdict is Verdict.OK


@pytest.mark.parametrize(("version", "needed"), [("0.3.64", False), ("0.16.0", False), ("0.33.0", True), ("", True)])
def test_what_only_newer_releases_end_without(tmp_path: Path, version: str, needed: bool) -> None:
    (tmp_path / "requirements.txt").write_text("torchaudio\naiohttp\n")
    found = installation.requirements(tmp_path, version)
    assert found == ((["torchaudio", "aiohttp"], []) if needed else (["aiohttp"], ["torchaudio"]))


def test_requirements(tmp_path: Path) -> None:
    """torch has a check of its own; what is for other platforms does not count."""
    assert installation.requirements(tmp_path) == ([], [])
    (tmp_path / "requirements.txt").write_text(REQUIREMENTS)
    assert installation.requirements(tmp_path) == (["aiohttp", "pytest"], ["comfyui-embedded-docs", "kornia"])


@pytest.mark.parametrize("name", ["requirements.txt", "readme.md"])
def test_comfyui_without_requirements_is_not_complained_about(box: Machine, name: str) -> None:
    (box.comfyui / name).write_text("")
    assert one(installation.packages(box.meet())).verdict is Verdict.OK
