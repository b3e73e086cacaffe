"""An operator's slip does no harm, and puts nothing out of reach."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from comfy_supervisor import machine
from comfy_supervisor.cli import common
from tests.cli.service import Service
from tests.nvml import Nvml


class TestFoldersOfOthers:
    """A state folder is closed to everybody else: one with other things in it is not taken."""

    @pytest.mark.parametrize("key", ["state", "run"])
    def test_a_folder_with_other_things_is_refused_and_left_as_it_is(self, key: str, service: Service) -> None:
        folder = service.folder / "photos"
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
        (folder / "holiday.jpg").touch()
        service.settings(paths={key: str(folder)})
        error = service.refused("render")
        assert f'paths.{key} = "{folder}": holds other things (holiday.jpg); choose a folder of its own' in error
        assert folder.stat().st_mode & 0o777 == 0o755
        assert [file.name for file in folder.iterdir()] == ["holiday.jpg"]

    def test_an_empty_one_is_fine_and_so_is_ours_with_a_guest(self, service: Service) -> None:
        folder = service.folder / "empty"
        folder.mkdir()
        service.settings(paths={"state": str(folder)})
        service.ok("render")
        (folder / "notes.txt").touch()
        service.ok("render")


class TestWrongSettings:
    def test_what_runs_stays_within_reach(self, up: Service) -> None:
        """A typo must not keep anybody from looking, stopping or starting at three in the morning."""
        up.settings(gpu={"policy": "teirs"})
        done = up.run("status", "--exit-code")
        assert done.returncode == 0
        assert 'gpu.policy = "teirs": expected' in done.stderr
        assert up.run("logs", "-n", "1").returncode == 0
        assert "runs already" in up.ok("start")
        assert 'gpu.policy = "teirs"' in up.refused("render")

    def test_wrong_paths_are_refused_since_nobody_knows_what_is_meant(self, service: Service) -> None:
        service.settings(paths={"staet": "x"})
        assert "paths.staet" in service.refused("stop")

    def test_what_is_found_out_later_names_the_file_too(self, gpu_service: Service, nvml: Nvml) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4090"])
        gpu_service.settings(gpu={"devices": ["GPU-nowhere"]})
        assert gpu_service.refused("render").startswith(f"error: {gpu_service.file}: gpu.devices")


class TestElsewhere:
    def test_nothing_meant_for_another_machine_is_started_here(self, service: Service) -> None:
        service.settings(comfyui={"version": "0.3.64", "directory": "/srv/ComfyUI", "python": "/srv/py"})
        for command in ("up", "apply"):
            assert 'comfyui.version = "0.3.64": means a machine that is not this one' in service.refused(command)
        assert "/srv/ComfyUI/main.py" in service.ok("render", "--stdout")


def test_a_gpu_that_is_left_out_is_named(gpu_service: Service, nvml: Nvml) -> None:
    gpu_service.settings(gpu={"devices": "all"})
    nvml.cards(["NVIDIA GeForce RTX 4090"] * 2)
    gpu_service.ok("render")
    nvml.fail("GPU_IS_LOST", "nvmlDeviceGetHandleByIndex_v2", card=1)
    done = gpu_service.run("render")
    assert done.returncode == 0
    assert "note: GPU 1 (" in done.stderr
    assert "gpu1) is left out: it has fallen off the bus" in done.stderr


class TestWithoutSudo:
    """Who says a command to a service of this machine as nobody special."""

    @pytest.fixture
    def shared(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Give a state folder as a service has it, out of our reach: root has to be told that it is not root."""
        folder = tmp_path / "shared"
        folder.mkdir()
        for room in (common, machine):
            monkeypatch.setattr(room, "SHARED_STATE", folder)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        reached = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: path != folder and reached(path, mode))
        return folder

    def test_is_told_that_there_is_one_rather_than_only_that_nothing_is_rendered(
        self, shared: Path, service: Service
    ) -> None:
        said = service.refused("status")
        assert said.startswith(f"note: {shared} is another account's, as a service's of this machine: sudo ")
        assert "nothing is rendered yet" in said
        service.state.mkdir()
        assert "note: " not in service.refused("status")

    def test_hears_nothing_of_it_where_there_is_none(self, shared: Path, service: Service) -> None:
        shared.rmdir()
        assert "note: " not in service.refused("status")


def test_settings_of_somebody_else_are_named_with_the_mend(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    why = "can't be read: Permission denied; whom it belongs to can, and root: sudo comfy-supervisor"
    assert service.refused("status") == f"error: {service.file}: {why}\n"
