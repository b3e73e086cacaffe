"""Finding ComfyUI's folder and its interpreter: what is taken first, and what is said when nothing fits."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from comfy_supervisor.comfyui import pythons
from comfy_supervisor.comfyui.find import candidates, find, is_standin
from comfy_supervisor.comfyui.pythons import environments, interpreters
from comfy_supervisor.errors import UserError
from comfy_supervisor.model import Installation
from tests.support import make_comfyui, make_program


class Machine:
    """A home, a working folder and an environment of their own."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.cwd = root / "work"
        self.bin = root / "bin"
        self.environ = {"PATH": str(self.bin)}
        for folder in (self.home, self.cwd, self.bin):
            folder.mkdir()
        self.python3 = make_program(self.bin / "python3", "exit 0")

    def find(self, directory: str = "", python: str = "") -> Installation:
        return find(directory, python, environ=self.environ, home=self.home, cwd=self.cwd)

    def problem(self, directory: str = "", python: str = "") -> str:
        with pytest.raises(UserError) as caught:
            self.find(directory, python)
        (line,) = caught.value.problems
        assert "\n" not in line
        return line


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def make_python(environment: Path) -> Path:
    return make_program(environment / "bin" / "python", "exit 0")


# The folder


def test_given_folder_is_taken_with_its_version(machine: Machine) -> None:
    folder = make_comfyui(machine.home / "Com fy Ü ☃", version="0.33.0")
    make_comfyui(machine.cwd / "ComfyUI")
    assert machine.find(str(folder)) == Installation(folder, machine.python3, "0.33.0")


@pytest.mark.parametrize(("directory", "place"), [("~/engine", "home"), ("engine", "cwd"), ("./engine", "cwd")])
def test_given_folder_may_be_relative(machine: Machine, directory: str, place: str) -> None:
    folder = make_comfyui(getattr(machine, place) / "engine")
    assert machine.find(directory).directory == folder


def test_link_to_a_folder_is_kept(machine: Machine) -> None:
    """Who points /opt/ComfyUI at another release means the link, not today's target."""
    link = machine.home / "current"
    link.symlink_to(make_comfyui(machine.home / "0.3.64"))
    assert machine.find(str(link)).directory == link


def test_setting_comes_before_the_environment_before_the_usual_places(machine: Machine) -> None:
    usual = make_comfyui(machine.cwd / "ComfyUI")
    assert machine.find().directory == usual
    machine.environ["COMFYUI_DIR"] = str(make_comfyui(machine.home / "by-variable"))
    assert machine.find().directory == machine.home / "by-variable"
    setting = make_comfyui(machine.home / "by-setting")
    assert machine.find(str(setting)).directory == setting


def test_usual_places_in_order(machine: Machine) -> None:
    machine.environ["COMFYUI_DIR"] = "/from/variable"
    config = machine.home / ".config" / "comfy-cli" / "config.ini"
    config.parent.mkdir(parents=True)
    config.write_text("[DEFAULT]\nrecent_workspace = /recent\ndefault_workspace = /chosen\nenable_tracking = no\n")
    assert candidates(machine.environ, machine.home, machine.cwd) == (
        Path("/from/variable"),
        machine.cwd / "ComfyUI",
        machine.cwd,
        machine.home / "ComfyUI",
        Path("/opt/ComfyUI"),
        Path("/chosen"),
        Path("/chosen/ComfyUI"),
        Path("/recent"),
        Path("/recent/ComfyUI"),
        machine.home / "comfy" / "ComfyUI",
    )


@pytest.mark.parametrize("text", ["rubbish", "[DEFAULT]\nrecent_workspace = %(x\n", "[a]\nb=1\n", "\xff\0"])
def test_rubbish_in_comfy_clis_file_is_no_trouble(machine: Machine, text: str) -> None:
    config = machine.home / ".config" / "comfy-cli" / "config.ini"
    config.parent.mkdir(parents=True)
    config.write_text(text, encoding="latin-1")
    folder = make_comfyui(machine.home / "comfy" / "ComfyUI")
    assert machine.find().directory == folder


def test_no_comfyui_anywhere_names_the_places_and_the_mend(machine: Machine) -> None:
    line = machine.problem()
    assert line.startswith('comfyui.directory = "": no ComfyUI found in ')
    assert str(machine.home / "ComfyUI") in line
    assert '"standin"' in line


def test_folder_that_is_not_there(machine: Machine) -> None:
    line = machine.problem("/no/such/folder")
    assert line == (
        'comfyui.directory = "/no/such/folder": is no folder (main.py and comfy/cli_args.py not found);'
        " give the folder that holds ComfyUI's main.py"
    )


def test_folder_that_is_another_program(machine: Machine) -> None:
    folder = machine.home / "other"
    folder.mkdir()
    (folder / "main.py").touch()
    line = machine.problem(str(folder))
    assert "is not ComfyUI's folder (comfy/cli_args.py not found)" in line


def test_folder_above_comfyui_is_told_of_it(machine: Machine) -> None:
    folder = make_comfyui(machine.home / "comfy" / "ComfyUI")
    assert machine.problem(str(folder.parent)).endswith(f'did you mean "{folder}"?')


def test_file_within_comfyui_is_told_of_its_folder(machine: Machine) -> None:
    folder = make_comfyui(machine.home / "ComfyUI")
    assert machine.problem(str(folder / "main.py")).endswith(f'did you mean "{folder}"?')


def test_wrong_variable_is_an_error_rather_than_passed_over(machine: Machine) -> None:
    make_comfyui(machine.home / "ComfyUI")
    machine.environ["COMFYUI_DIR"] = "/no/such/folder"
    assert machine.problem().startswith('$COMFYUI_DIR = "/no/such/folder": is no folder')


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder: run the tests as another user to see this")
def test_unreadable_folder_says_so(machine: Machine) -> None:
    folder = make_comfyui(machine.home / "ComfyUI")
    folder.chmod(0)
    try:
        assert "cannot be read (Permission denied)" in machine.problem(str(folder))
    finally:
        folder.chmod(0o755)


def test_too_long_a_name_is_a_users_error(machine: Machine) -> None:
    assert "cannot be read (File name too long)" in machine.problem("x" * 300)


def test_standin_is_our_own_folder_run_by_our_own_interpreter(machine: Machine) -> None:
    installation = machine.find("standin")
    assert installation.directory.parts[-2:] == ("comfy_supervisor", "standin")
    assert installation.python == Path(sys.executable)


def test_standin_by_variable_where_no_setting_says_otherwise(machine: Machine) -> None:
    machine.environ["COMFYUI_DIR"] = "standin"
    assert machine.find() == machine.find("standin")
    assert is_standin(machine.find().directory)
    folder = make_comfyui(machine.home / "ComfyUI")
    assert machine.find(str(folder)).directory == folder
    assert not is_standin(folder)


# The interpreter


@pytest.fixture
def folder(machine: Machine) -> Path:
    return make_comfyui(machine.home / "apps" / "ComfyUI")


def test_environments_in_order(machine: Machine, folder: Path) -> None:
    machine.environ |= {"CONDA_PREFIX": "/conda/envs/comfy", "CONDA_DEFAULT_ENV": "comfy", "VIRTUAL_ENV": "/venv"}
    assert environments(folder, machine.environ, machine.home) == (
        folder / "venv",
        folder / ".venv",
        folder.parent / "venv",
        folder.parent / ".venv",
        Path("/conda/envs/comfy"),
        machine.home / "miniconda3/envs/comfyui",
        machine.home / "anaconda3/envs/comfyui",
        machine.home / "miniforge3/envs/comfyui",
        Path("/venv"),
    )


def test_condas_base_is_active_without_being_meant(machine: Machine, folder: Path) -> None:
    """The environment named comfyui, and an active virtual one, come before it."""
    machine.environ |= {"CONDA_PREFIX": "/conda", "CONDA_DEFAULT_ENV": "base", "VIRTUAL_ENV": "/venv"}
    found = environments(folder, machine.environ, machine.home)
    assert found[-2:] == (Path("/venv"), Path("/conda"))
    assert found.count(Path("/conda")) == 1


def test_the_folders_own_environment_is_chosen(machine: Machine, folder: Path) -> None:
    assert machine.find(str(folder)).python == machine.python3
    above = make_python(folder.parent / "venv")
    assert machine.find(str(folder)).python == above
    own = make_python(folder / "venv")
    assert machine.find(str(folder)).python == own


def test_link_of_a_virtual_environment_is_kept(machine: Machine, folder: Path) -> None:
    """Resolved, it would be the Python outside, without the packages."""
    link = folder / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(sys.executable)
    assert machine.find(str(folder)).python == link


def test_broken_environment_is_passed_over(machine: Machine, folder: Path) -> None:
    link = folder / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to("/no/such/python")
    assert machine.find(str(folder)).python == machine.python3


def test_our_own_environment_is_not_comfyuis(machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An active environment that holds only us, without torch, is passed over, on PATH too."""
    own = make_python(machine.home / "ours").parent
    make_program(own / "python3", "exit 0")
    machine.environ |= {"VIRTUAL_ENV": str(own.parent), "PATH": f"{own}:{machine.bin}"}
    assert machine.find(str(folder)).python == own / "python"
    monkeypatch.setattr(pythons, "environment_without_torch", lambda: own.parent)
    assert machine.find(str(folder)).python == machine.python3


def test_nothing_is_excluded_unless_asked(machine: Machine, folder: Path) -> None:
    assert interpreters(folder, machine.environ, machine.home)[-1] == machine.python3
    excluded = interpreters(folder, machine.environ, machine.home, without=machine.bin.parent)
    assert machine.python3 not in excluded


def test_given_interpreter_by_path_by_name_and_by_variable(machine: Machine, folder: Path) -> None:
    make_python(folder / "venv")
    other = make_program(machine.bin / "python3.12", "exit 0")
    assert machine.find(str(folder), str(other)).python == other
    assert machine.find(str(folder), "python3.12").python == other
    machine.environ["COMFYUI_PYTHON"] = "python3.12"
    assert machine.find(str(folder)).python == other
    assert machine.find(str(folder), "~/apps/ComfyUI/venv/bin/python").python == folder / "venv/bin/python"


def test_interpreter_that_is_not_there(machine: Machine, folder: Path) -> None:
    line = machine.problem(str(folder), "/no/such/python")
    assert line.startswith('comfyui.python = "/no/such/python": cannot be used (No such file or directory); give ')
    assert machine.problem(str(folder), "python9").startswith(
        'comfyui.python = "python9": no such program on PATH; give '
    )


def test_environments_folder_instead_of_its_python(machine: Machine, folder: Path) -> None:
    python = make_python(folder / "venv")
    line = machine.problem(str(folder), str(folder / "venv"))
    assert line.endswith(f'is a folder; did you mean "{python}"?')


def test_interpreter_that_is_not_executable(machine: Machine, folder: Path) -> None:
    python = make_python(folder / "venv")
    python.chmod(0o644)
    assert "is not executable; give " in machine.problem(str(folder), str(python))


def test_no_python_at_all(machine: Machine, folder: Path) -> None:
    machine.python3.unlink()
    line = machine.problem(str(folder))
    assert line.startswith('comfyui.python = "": none of ')
    assert str(folder / "venv" / "bin" / "python") in line
