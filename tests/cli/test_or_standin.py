"""What is taken where nothing was named: the stand-in, as ``make run`` does, and the Python on PATH."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import psutil
import pytest

from tests.cli.service import Service
from tests.support import make_comfyui, make_program


@pytest.fixture
def service(service: Service) -> Service:
    """A user who has not named a ComfyUI."""
    if Path("/opt/ComfyUI").exists():
        pytest.skip("this machine has a ComfyUI that every user finds")
    service.settings(comfyui={"directory": ""})
    return service


def test_where_no_comfyui_is_found_the_stand_in_runs_and_says_so(service: Service) -> None:
    done = service.run("up", "-d", "--or-standin")
    assert done.returncode == 0, done
    (note,) = [line for line in done.stderr.splitlines() if "ComfyUI's API" in line or "no ComfyUI found" in line]
    assert note.startswith("note: THIS IS THE STAND-IN, NOT COMFYUI: it speaks ComfyUI's API")
    assert "no ComfyUI found in" in note
    assert service.answers()


KEPT = "what runs is the stand-in (up --or-standin), since no ComfyUI is found"


class TestWhileItRuns:
    """It is no stranger to the commands, though no settings name it."""

    @pytest.fixture
    def up(self, service: Service) -> Service:
        """The stand-in runs for want of a ComfyUI."""
        service.ok("up", "-d", "--or-standin")
        return service

    def test_changed_settings_are_taken_over(self, up: Service) -> None:
        up.settings(comfyui={"directory": "", "cors_origin": "https://example.org"})
        done = up.run("apply")
        assert done.returncode == 0
        assert KEPT in done.stderr
        assert "no ComfyUI found" not in done.stderr
        assert "https://example.org" in psutil.Process(up.pid()).cmdline()

    def test_everybody_knows_it(self, up: Service) -> None:
        assert "(the stand-in)\n" in up.ok("version")
        assert "comfyui: the stand-in, not ComfyUI" in up.ok("status")
        assert "supervisord runs already" in up.refused("up", "-d")
        assert up.ok("render", "--check") == ""
        findings = {one["check"]: one for one in json.loads(up.ok("doctor", "--json"))}
        assert (findings["comfyui"]["verdict"], findings["comfyui"]["found"]) == ("warning", KEPT)
        assert "up to date" in findings["configuration"]["found"]

    def test_a_comfyui_that_comes_takes_its_place(self, up: Service) -> None:
        make_comfyui(up.folder / "ComfyUI")
        assert "stand-in" not in up.ok("version")

    def test_once_it_is_down_nothing_is_known_of_it(self, up: Service) -> None:
        up.ok("down")
        assert "no ComfyUI found in" in up.refused("apply")


def test_the_variable_names_it_as_the_setting_does(service: Service) -> None:
    done = service.run("up", "-d", COMFYUI_DIR="standin")
    assert done.returncode == 0
    assert "THIS IS THE STAND-IN, NOT COMFYUI" in done.stderr
    assert 'directory = "standin"\n' in service.ok("init", "-o", "-", COMFYUI_DIR="standin")
    findings = json.loads(service.run("doctor", "--json", COMFYUI_DIR="standin").stdout)
    assert "the stand-in, which generates no images" in [one["found"] for one in findings]


class TestPythonOfPath:
    """An interpreter that nobody named, and that no environment of ComfyUI's has."""

    NOTE = "ComfyUI has no environment of its own"

    @pytest.fixture
    def environ(self, service: Service) -> dict[str, str]:
        """A ComfyUI without an environment, and a Python on PATH."""
        make_comfyui(service.folder / "ComfyUI")
        make_program(service.folder / "bin" / "python3", f'exec {service.python} -S "$@"')
        return {"PATH": f"{service.folder}/bin:/usr/bin:/bin", "VIRTUAL_ENV": "", "CONDA_PREFIX": ""}

    def test_it_is_told(self, service: Service, environ: dict[str, str]) -> None:
        said = service.run("render", **environ).stderr
        assert f"note: {self.NOTE}" in said
        assert f"{service.folder}/bin/python3, the first Python on PATH" in said
        assert "set comfyui.python (or $COMFYUI_PYTHON)" in said
        assert self.NOTE in service.refused("up", "-d", **environ)
        found = json.loads(service.run("doctor", "--json", **environ).stdout)
        assert [one["check"] for one in found if self.NOTE in one["found"]] == ["python"]

    def test_one_that_is_named_or_its_own_is_not(self, service: Service, environ: dict[str, str]) -> None:
        python = f"{service.folder}/bin/python3"
        assert self.NOTE not in service.run("render", **environ, COMFYUI_PYTHON=python).stderr
        make_program(service.folder / "ComfyUI" / "venv" / "bin" / "python", f'exec {python} "$@"')
        assert self.NOTE not in service.run("render", **environ).stderr
        shutil.rmtree(service.folder / "ComfyUI" / "venv")
        service.settings(comfyui={"directory": "", "python": python})
        assert self.NOTE not in service.run("render", **environ).stderr


def test_a_comfyui_that_is_found_is_taken(service: Service) -> None:
    make_comfyui(service.folder / "ComfyUI")
    service.settings(comfyui={"directory": "", "extra_args": ["--unheard-of"]})
    error = service.refused("up", "-d", "--or-standin")
    assert "ComfyUI 0.3.64 refuses its options" in error
    assert "STAND-IN" not in error


def test_one_that_is_named_and_is_not_there_is_a_mistake_all_the_same(service: Service) -> None:
    service.settings(comfyui={"directory": "/nowhere"})
    assert 'comfyui.directory = "/nowhere": is no folder' in service.refused("up", "-d", "--or-standin")


def test_without_the_option_it_is_a_mistake(service: Service) -> None:
    assert "no ComfyUI found in" in service.refused("up", "-d")
