"""Dockerfile and compose.yaml hold what they must; ``make lint`` has both checked by tools of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_supervisor.service.unit import SPARE_SECONDS
from comfy_supervisor.settings import load
from comfy_supervisor.settings.schema import RestartSettings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()


def context(folder: Path) -> None:
    """Copy what the image is built from."""
    wanted = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in wanted:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


@pytest.mark.packaging
def test_what_is_let_through_to_the_build_makes_the_whole_wheel(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    context(tmp_path / "src")
    argv = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        f"{tmp_path}/dist",
        f"{tmp_path}/src",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("conf/supervisord.conf.j2", "comfyui/releases.json", "comfy_supervisor_bridge/schema.sql"):
        assert name in done.stdout


def test_its_settings_by_environment_are_settings() -> None:
    variables = dict(re.findall(r"(COMFY_SUPERVISOR__\w+)=(\S+)", DOCKERFILE))
    loaded = load(None, variables)
    assert loaded.settings.comfyui.listen == "0.0.0.0"
    assert str(loaded.settings.paths.run) == "/run/comfy-supervisor"


def test_supervisorctl_finds_what_it_asks_where_it_looks_by_itself() -> None:
    state = re.findall(r"COMFY_SUPERVISOR__PATHS__STATE=(\S+)", DOCKERFILE)
    assert re.findall(r"ln -s (\S+)/supervisord.conf /etc/supervisord.conf$", DOCKERFILE, re.MULTILINE) == state


def test_each_folder_that_outlives_the_container_belongs_to_the_account() -> None:
    """An engine makes what is not there, as root's; also where no ComfyUI is built in, and one's own is mounted."""
    kept = re.findall(r"^ +- [a-z]+:(/\S+)", COMPOSE, re.MULTILINE)
    made = " ".join(
        re.findall(r"^    && (?:install --directory --owner comfyui|mkdir --parents) .*", DOCKERFILE, re.MULTILINE)
    )
    assert len(kept) == 3
    assert all(f" {folder} " in f"{made} " for folder in kept)


def test_it_runs_as_nobody_special_and_is_reached_from_this_machine_alone() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["${UID}"]
    ports = re.findall(r'^ +- "(.*:8188)"', COMPOSE, re.MULTILINE)
    assert ports == ["127.0.0.1:8188:8188"]
    assert "security_opt:\n      - no-new-privileges:true\n    cap_drop:\n      - ALL\n" in COMPOSE
    runs = re.findall(r"^ *docker run .*", (ROOT / "docs" / "containers.md").read_text(), re.MULTILINE)
    assert runs
    for line in runs:
        assert "--cap-drop=ALL --security-opt=no-new-privileges -p 127.0.0.1:" in line


def test_an_empty_version_builds_no_comfyui_in() -> None:
    """``:-`` would put the default in its place: Compose's interpolation, as the shell's."""
    assert "${COMFYUI_VERSION-v" in COMPOSE
    assert 'ARG COMFYUI_VERSION=""\n' in DOCKERFILE


def test_it_gets_the_time_that_an_orderly_end_takes() -> None:
    found = re.search(r"stop_grace_period: (\d+)s", COMPOSE)
    assert found
    assert int(found[1]) >= RestartSettings().stop_seconds + SPARE_SECONDS
