"""``comfy-supervisor init``: a file to begin with, and never the loss of the one that was there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

import pytest

from comfy_supervisor import disk
from comfy_supervisor.errors import UserError
from comfy_supervisor.settings import FILE_NAME, load
from tests.cli.service import Service
from tests.support import make_comfyui, make_program

OLD = "[comfyui]\nport = 1234\n"


@pytest.fixture
def found(service: Service) -> dict[str, str]:
    """The environment in which a ComfyUI is found."""
    folder = make_comfyui(service.folder / "there" / "ComfyUI")
    python = make_program(folder.parent / "python", "exit 0")
    return {"COMFYUI_DIR": str(folder), "COMFYUI_PYTHON": str(python)}


@pytest.fixture
def old(service: Service) -> Path:
    """A file that was there before."""
    file = service.folder / "old.toml"
    file.write_text(OLD)
    return file


def test_it_fills_in_what_is_found_and_says_what_is_next(service: Service, found: dict[str, str]) -> None:
    said = service.ok("init", "-o", "new.toml", **found)
    file = service.folder / "new.toml"
    settings = load(file, {}).settings
    assert (settings.comfyui.directory, settings.comfyui.python) == (found["COMFYUI_DIR"], found["COMFYUI_PYTHON"])
    assert settings.comfyui.port == 8188
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert said.splitlines() == [
        f"Wrote {file}",
        f"  comfyui.directory = {found['COMFYUI_DIR']}",
        f"  comfyui.python = {found['COMFYUI_PYTHON']}",
        "Next: comfy-supervisor doctor, then comfy-supervisor up",
    ]


def test_it_makes_the_folder(service: Service, found: dict[str, str]) -> None:
    service.ok("init", "-o", "a/b/new.toml", **found)
    assert load(service.folder / "a/b/new.toml", {}).settings.comfyui.directory == found["COMFYUI_DIR"]


def test_the_file_that_is_named_as_the_settings_file_is_the_one_to_write(
    service: Service, found: dict[str, str]
) -> None:
    service.ok("-c", "before.toml", "init", **found)
    service.ok("init", "-c", "after.toml", **found)
    service.ok("init", **found, COMFY_SUPERVISOR_CONFIG="said.toml")
    for name in ("before.toml", "after.toml", "said.toml"):
        assert load(service.folder / name, {}).settings.comfyui.directory == found["COMFYUI_DIR"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root's default is in /etc")
def test_by_default_it_is_where_the_other_commands_look(service: Service, found: dict[str, str]) -> None:
    service.ok("init", **found)
    assert (service.folder / "home/.config/comfy-supervisor" / FILE_NAME).is_file()


def test_without_a_comfyui_the_file_is_written_all_the_same(service: Service) -> None:
    done = service.run("init", "-o", "new.toml", COMFYUI_DIR="/nowhere")
    assert done.returncode == 0
    assert "No ComfyUI filled in: " in done.stderr
    assert load(service.folder / "new.toml", {}).settings.comfyui.directory == ""


def test_it_prints(service: Service, found: dict[str, str]) -> None:
    before = set(service.folder.iterdir())
    printed = service.ok("init", "-o", "-", **found)
    assert set(service.folder.iterdir()) == before
    file = service.folder / "printed.toml"
    file.write_text(printed)
    assert load(file, {}).settings.comfyui.directory == found["COMFYUI_DIR"]


@pytest.mark.parametrize(
    ("variable", "key", "other"),
    [("COMFYUI_DIR", "directory", "python"), ("COMFYUI_PYTHON", "python", "directory")],
)
@pytest.mark.parametrize("odd", [b"\xff", b"a\nb"])
def test_what_no_settings_file_can_hold_is_left_out(
    variable: str, key: str, other: str, odd: bytes, service: Service, found: dict[str, str]
) -> None:
    path = Path(found[variable])
    path = path.rename(path.with_name(os.fsdecode(odd)))
    done = service.run("init", "-o", "new.toml", **{**found, variable: str(path)})
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert done.stderr.startswith(f"comfyui.{key} isn't filled in: ")
    comfyui = load(service.folder / "new.toml", {}).settings.comfyui
    assert getattr(comfyui, key) == ""
    assert getattr(comfyui, other) != ""


class TestAFileThatIsThere:
    """Kept, unless ``--force``; and then as FILE.old."""

    def test_is_not_replaced(self, service: Service, old: Path) -> None:
        assert f"{old}: is there already; --force replaces it" in service.refused("init", "-o", "old.toml")
        assert old.read_text() == OLD
        assert not old.with_name("old.toml.old").exists()

    def test_is_kept_beside_the_new_one(self, service: Service, old: Path, found: dict[str, str]) -> None:
        old.with_name("old.toml.old").write_text("older still")
        old.chmod(0o640)
        service.ok("init", "-o", "old.toml", "--force", **found)
        assert old.with_name("old.toml.old").read_text() == OLD
        assert stat.S_IMODE(old.with_name("old.toml.old").stat().st_mode) == 0o640
        assert load(old, {}).settings.comfyui.directory == found["COMFYUI_DIR"]
        assert not list(service.folder.glob(".old.toml*"))

    def test_is_kept_byte_for_byte(self, service: Service, old: Path) -> None:
        old.write_bytes(b"\xff\r\n")
        service.ok("init", "-o", "old.toml", "--force")
        assert old.with_name("old.toml.old").read_bytes() == b"\xff\r\n"

    @pytest.mark.parametrize(
        "full",
        [
            lambda: patch.object(disk, "write", side_effect=UserError("x: the disk is full: free some space")),
            lambda: patch("shutil.copy2", side_effect=OSError(28, "No space left on device")),
        ],
        ids=["at the new one", "at the copy"],
    )
    def test_stays_where_it_is_on_a_full_disk(
        self, full: Callable[[], AbstractContextManager[object]], service: Service, old: Path
    ) -> None:
        with full():
            assert "the disk is full" in service.refused("init", "-o", "old.toml", "--force")
        assert old.read_text() == OLD
        assert not list(service.folder.glob(".old.toml*"))


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_is_refused(force: list[str], service: Service) -> None:
    folder = service.folder / "folder"
    folder.mkdir()
    said = service.refused("init", "-o", "folder", *force)
    assert f"{folder}: is a folder; name the file to write, such as {folder / FILE_NAME}" in said
    assert len(said.splitlines()) == 1
    assert folder.is_dir()
    assert not folder.with_name("folder.old").exists()


def test_neither_is_a_device_replaced(service: Service) -> None:
    pipe = service.folder / "pipe"
    os.mkfifo(pipe)
    assert f"{pipe}: is no plain file" in service.refused("init", "-o", "pipe", "--force")
    assert pipe.is_fifo()


def test_the_home_of_nobody_is_refused(service: Service) -> None:
    assert '--output: "~nosuch/x": no home folder is known for ~nosuch' in service.refused("init", "-o", "~nosuch/x")
