"""Folders and disks: real ones."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_supervisor import machine
from comfy_supervisor.doctor import storage
from comfy_supervisor.doctor.finding import Finding, Verdict
from comfy_supervisor.model import Flag, Installation, Invocation

from .conftest import Machine, one

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone may ask for another account")


def problems(box: Machine) -> list[Finding]:
    return [one for one in storage.folders(box.meet()) if one.verdict is not Verdict.OK]


def test_all_writable(box: Machine) -> None:
    found = one(storage.folders(box.meet()))
    assert found.verdict is Verdict.OK
    for folder in (box.state, box.state / "run", box.state / "logs", box.comfyui / "output", box.comfyui / "temp"):
        assert str(folder) in found.found


def test_nothing_is_made(box: Machine) -> None:
    before = sorted(box.folder.rglob("*"))
    list(storage.folders(box.meet()))
    assert sorted(box.folder.rglob("*")) == before


def test_file_where_a_folder_belongs(box: Machine) -> None:
    (box.folder / "file").touch()
    box.configure(paths__logs=f'"{box.folder / "file" / "logs"}"')
    found = one(problems(box))
    assert found.verdict is Verdict.PROBLEM
    assert found.found == f"{box.folder}/file/logs (logs): {box.folder}/file is no folder"
    assert "paths.logs" in found.mend


def test_link_to_a_disk_that_is_not_mounted(box: Machine) -> None:
    (box.comfyui / "output").symlink_to(box.folder / "mnt" / "output")
    found = one(problems(box))
    assert found.verdict is Verdict.PROBLEM
    assert "output is a link to nowhere" in found.found


def test_input_is_only_needed_for_uploads(box: Machine) -> None:
    (box.comfyui / "input").touch()
    assert one(problems(box)).verdict is Verdict.WARNING


def test_folder_without_permission(box: Machine) -> None:
    box.state.mkdir(0o500)
    if os.access(box.state, os.W_OK):
        pytest.skip("whoever runs the tests may write everywhere, as root does")
    found = problems(box)
    assert {one.verdict for one in found} == {Verdict.PROBLEM}
    assert f"{box.state} (state): not writable for this account" in [one.found for one in found]


@needs_root
class TestOtherAccount:
    """ComfyUI runs as nobody; what that account may do is asked of the kernel."""

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """A folder that others may pass through: pytest closes its own whenever another pytest begins."""
        with tempfile.TemporaryDirectory(prefix="cs-") as name:
            Path(name).chmod(0o711)
            yield Path(name)

    @pytest.fixture(autouse=True)
    def as_nobody(self, box: Machine) -> None:
        python = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")  # root's own is often out of its reach
        if not python:
            pytest.skip("needs a python3 that every user may run")
        box.configure(comfyui__user='"nobody"', comfyui__python=f'"{python}"')

    def test_folders_that_it_may_not_write_to(self, box: Machine) -> None:
        found = problems(box)
        assert {one.verdict for one in found} == {Verdict.PROBLEM, Verdict.WARNING}
        assert f"{box.comfyui}/output (output): not writable for nobody" in [one.found for one in found]

    def test_folders_that_are_its_own(self, box: Machine) -> None:
        shutil.chown(box.comfyui, "nobody")
        assert problems(box) == []

    def test_what_it_must_get_at(self, box: Machine) -> None:
        def refused() -> set[str]:
            findings = storage.readable(box.meet())
            return {one.found.partition(":")[0] for one in findings if one.verdict is Verdict.PROBLEM}

        mine = {f"{box.comfyui}/main.py", str(box.folder)}
        assert mine.isdisjoint(refused())
        box.comfyui.chmod(0o700)
        assert f"{box.comfyui}/main.py" in refused()
        box.folder.chmod(0o700)
        assert mine <= refused()

    def test_folders_that_we_shall_make_for_it(self, box: Machine) -> None:
        """Several instances have folders of their own below the state folder, which is root's."""
        shutil.chown(box.comfyui, "nobody")
        box.nvml.cards(["NVIDIA GeForce RTX 4090"] * 2)
        box.configure(gpu__devices='"all"')
        assert problems(box) == []


def test_access_of_this_account_is_asked_of_the_kernel(tmp_path: Path) -> None:
    odd = tmp_path / "a b\n'c"
    odd.mkdir()
    tests = [("d", odd), ("w", odd), ("r", tmp_path / "missing"), ("x", odd)]
    assert storage.denied(tests, None) == {tmp_path / "missing"}


@needs_root
def test_access_of_another_account(tmp_path: Path) -> None:
    assert storage.denied([("w", tmp_path), ("r", Path("/etc/passwd"))], machine.account("nobody")) == {tmp_path}


class TestDisk:
    """How much room there is."""

    @pytest.mark.parametrize(
        ("free", "verdict", "words"),
        [
            (100 * 1024**3, Verdict.OK, "100.0 GiB free at /data (logs)"),
            (storage.LITTLE, Verdict.OK, "5.0 GiB"),
            (storage.LITTLE - 1, Verdict.WARNING, "5.0 GiB"),
            (storage.TOO_LITTLE, Verdict.WARNING, "200 MiB"),
            (storage.TOO_LITTLE - 1024**2, Verdict.PROBLEM, "199 MiB"),
            (0, Verdict.PROBLEM, "0 MiB"),
        ],
    )
    def test_verdict(self, free: int, verdict: Verdict, words: str) -> None:
        found = storage.room(free, "/data (logs)")
        assert (found.verdict, words in found.found) == (verdict, True)

    def test_each_file_system_once(self, box: Machine) -> None:
        found = one(storage.disk(box.meet()))
        assert found.found.endswith(f"{box.state} (state, run, logs, output, user, temp)")
        if Path("/dev/shm").is_mount():
            box.configure(paths__run='"/dev/shm/comfy-supervisor-test"')
            assert len(list(storage.disk(box.meet()))) == 2


def test_folders_of_comfyui_follow_its_options() -> None:
    def folders(**given: str) -> dict[str, str]:
        flags = tuple(Flag(f"--{name}-directory", (value,)) for name, value in given.items())
        here = Installation(Path("/comfy"), Path("/python"), "")
        return {name: str(path) for name, path in storage.comfyui_folders(here, Invocation(flags, {}, "")).items()}

    plain = {"output": "/comfy/output", "user": "/comfy/user", "input": "/comfy/input", "temp": "/comfy/temp"}
    assert folders() == plain
    assert folders(output="/big", temp="scratch") == {**plain, "output": "/big", "temp": "/comfy/scratch/temp"}
    assert folders(base="/b", user="u") == {
        "output": "/b/output",
        "user": "/comfy/u",
        "input": "/b/input",
        "temp": "/b/temp",
    }
