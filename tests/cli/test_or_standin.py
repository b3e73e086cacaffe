"""``up --or-standin``: what ``make run`` runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.service import Service
from tests.support import make_comfyui


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
    assert "no ComfyUI found in" in done.stderr
    assert "THIS IS THE STAND-IN, NOT COMFYUI" in done.stderr
    assert service.answers()


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
