"""Disks, folders and paths that get in the way: each is said in one line with its mend, and the old files stay."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cli.service import Service
from tests.comfyui_server import image_job


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a small disk of its own on a folder; skips where that isn't allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "none", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs to mount a disk of its own, as root may: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Write until the disk is full; return the file that fills it."""
    file = folder / "filling"
    with file.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4096))
    return file


class TestFullDisk:
    def test_the_old_file_stays_whole_and_nothing_else_is_left(self, service: Service) -> None:
        with mounted(service.state, "size=256k"):
            service.ok("render")
            before = service.conf.read_bytes()
            filling = fill(service.state)
            names = sorted(service.state.iterdir())
            service.settings(comfyui={"cors_origin": "https://example.org"})
            assert f"{service.conf}: the disk is full: free some space" in service.refused("render")
            assert service.conf.read_bytes() == before
            assert sorted(service.state.iterdir()) == names
            filling.unlink()
            service.ok("render")
            assert b"https://example.org" in service.conf.read_bytes()

    def test_up_is_refused_before_anything_is_started(self, service: Service) -> None:
        with mounted(service.state, "size=256k"):
            service.ok("render")
            fill(service.state)
            assert "the disk is full: free some space" in service.refused("up", "-d")
            assert not service.processes()

    def test_a_disk_that_fills_later_stops_nobody(self, service: Service) -> None:
        with mounted(service.state, "size=512k"):
            service.ok("up", "-d")
            fill(service.state)
            assert service.finished(service.submit(image_job()))["status"]["completed"]
            service.ok("restart")
            service.wait_for_api()
            assert service.status()[0]["ready"]
            assert "comfyui: its disk is full: " in service.ok("status")
            assert service.status()[0]["journal"] != "ok"
            service.ok("down")

    def test_a_folder_that_cannot_be_made_for_want_of_space(self, service: Service) -> None:
        with mounted(service.state, "size=256k,nr_inodes=2"):
            assert "the disk is full: free some space" in service.refused("render")


class TestReadOnly:
    def test_the_state_folder(self, service: Service) -> None:
        with mounted(service.state, "size=256k"):
            service.ok("render")
            subprocess.run(["mount", "-o", "remount,ro", service.state], check=True)
            service.settings(comfyui={"cors_origin": "https://example.org"})
            for words in (["render"], ["up", "-d"], ["apply"]):
                said = service.refused(*words)
                assert (
                    "the file system is read-only: choose another folder (paths.state, paths.run, paths.logs)" in said
                )
            assert service.status()[0]["state"] == "DOWN"
            assert service.run("render", "--check").returncode == 1

    def test_only_the_logs_folder(self, service: Service) -> None:
        logs = service.folder / "logs"
        with mounted(logs, "size=256k,ro"):
            service.settings(paths={"logs": str(logs)})
            service.ok("render")


class TestPaths:
    def test_a_state_path_too_long_for_a_socket_gets_a_shorter_run_folder(self, service: Service) -> None:
        service.state = service.folder / ("long" * 25)
        service.conf = service.state / "supervisord.conf"
        service.settings()
        service.ok("up", "-d")
        run = Path(service.rpc.url.removeprefix("unix://")).parent
        try:
            assert not run.is_relative_to(service.state)
            assert run.stat().st_mode & 0o777 == 0o700
            assert service.finished(service.submit(image_job()))["status"]["completed"]
            assert "RUNNING" in service.supervisorctl("status").stdout
            service.ok("down")
        finally:
            shutil.rmtree(run if run.name != "run" else run.parent)

    def test_a_run_folder_of_the_users_that_is_too_long_is_refused(self, service: Service) -> None:
        run = service.folder / ("long" * 25)
        service.settings(paths={"run": str(run)})
        assert f'paths.run = "{run}": too long for a unix socket; set a shorter one' in service.refused("render")

    def test_blanks_percent_signs_apostrophes_and_letters_from_elsewhere(self, service: Service) -> None:
        service.state = service.folder / "100% öl's Zustand; x"
        service.conf = service.state / "supervisord.conf"
        service.settings()
        service.ok("up", "-d")
        assert service.finished(service.submit(image_job()))["status"]["completed"]
        assert "got prompt" in service.ok("logs")
        assert service.ok("down") == "down\n"

    @pytest.mark.parametrize(("name", "why"), [("a #1", "begins a comment"), ('a "b"', "no way to write")])
    def test_what_supervisord_could_not_read_is_refused(self, name: str, why: str, service: Service) -> None:
        service.settings(paths={"state": str(service.folder / name)})
        said = service.refused("render")
        assert "paths." in said
        assert why in said
        assert not list((service.folder / "home").iterdir())

    def test_where_no_folder_can_be_made(self, service: Service) -> None:
        service.settings(paths={"state": "/proc/comfy-supervisor"})
        assert "no folder can be made there: choose another (paths.state, " in service.refused("render")

    def test_a_file_in_a_folders_place(self, service: Service) -> None:
        service.state.write_text("in the way")
        for state in (service.state, service.state / "below"):
            service.settings(paths={"state": str(state)})
            said = service.refused("render")
            assert said.startswith(f"error: {state}")
            assert "a file is in the way" in said
