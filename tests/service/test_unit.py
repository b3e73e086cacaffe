"""The unit is one that systemd takes without a word, and that leaves ComfyUI little to break."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor.model import SHARED_RUN, SHARED_STATE
from comfy_supervisor.service import GPU_UNIT, UNIT, Site, gpu_unit, unit
from comfy_supervisor.service.unit import command, quoted

SITE = Site(
    version="1.2",
    command=(sys.executable, "-I"),
    config="/etc/comfy-supervisor/comfy-supervisor.toml",
    state=SHARED_STATE,
    run=SHARED_RUN,
    account="games",  # any that there is everywhere and that is not root
    groups=("video",),
    writable=(Path("/srv/ComfyUI"), Path('/srv/a b/50%/"x"')),
    memory_high=48 * 1024**3,
)
HIGHEST = 2.0
"""What systemd may call the service's exposure at most, of 10."""
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")


def analyzed(folder: Path, site: Site, *words: str) -> str:
    """Return what systemd-analyze says of our units."""
    (folder / UNIT).write_text(unit(site))
    (folder / GPU_UNIT).write_text(gpu_unit("1.2"))
    argv = ["systemd-analyze", "--no-pager", *words, str(folder / UNIT)]
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("site", [SITE, replace(SITE, config="", state=Path("/srv/state"), run=Path("/srv/state/run"))])
def test_systemd_has_nothing_to_say_of_it(site: Site, tmp_path: Path) -> None:
    assert analyzed(tmp_path, site, "verify").strip() == ""


@needs_systemd
def test_systemd_has_nothing_to_say_of_a_users_own(tmp_path: Path) -> None:
    site = replace(SITE, account="", state=Path("/home/x/state"), run=Path("/home/x/run"))
    assert analyzed(tmp_path, site, "--user", "verify").strip() == ""


@needs_systemd
@pytest.mark.parametrize("homes", [False, True])
def test_its_exposure_is_low(homes: bool, tmp_path: Path) -> None:
    said = analyzed(tmp_path, replace(SITE, read_only_homes=homes), "security", "--offline=true")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= HIGHEST, said


def test_a_value_can_neither_end_its_word_nor_be_a_variable() -> None:
    words = ["/a b/x", "50%h", 'say "$HOME"', "back\\slash", "semi;colon", ""]
    line = command(words)
    assert shlex.split(line.replace("%%", "%").replace("$$", "$")) == words
    assert quoted("/plain/path-1.2_x") == "/plain/path-1.2_x"


def test_the_folders_that_it_writes_to_are_all_that_it_may(tmp_path: Path) -> None:
    text = unit(replace(SITE, state=Path("/srv/state"), run=tmp_path))
    line = next(line for line in text.splitlines() if line.startswith("ReadWritePaths="))
    assert shlex.split(line.partition("=")[2].replace("%%", "%")) == [
        "-/srv/state",
        f"-{tmp_path}",
        "-/srv/ComfyUI",
        '-/srv/a b/50%/"x"',
    ]
    assert "StateDirectory=" not in text
    assert "MemoryHigh=51539607552" in text


def test_it_waits_longer_than_comfyui_may_take_to_stop() -> None:
    assert f"TimeoutStopSec={3600 + 60}" in unit(replace(SITE, stop_seconds=3600))


def test_a_users_own_names_nobody() -> None:
    text = unit(replace(SITE, account=""))
    assert "User=" not in text
    assert "WantedBy=default.target" in text
    assert getpass.getuser() not in text.replace(sys.executable, "")
