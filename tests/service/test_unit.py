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

from comfy_supervisor.errors import UserError
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


PYTHON = f"{sys.executable} -I -m"
OURS = f"{PYTHON} comfy_supervisor -c {SITE.config}"
DIRECTIVES = f"""
[Unit]
Description=ComfyUI, headless, kept generating by comfy-supervisor
Wants=network-online.target comfyui-headless-gpu.service
After=network-online.target nvidia-persistenced.service comfyui-headless-gpu.service
StartLimitIntervalSec=600
StartLimitBurst=10
[Service]
Type=exec
User=games
SupplementaryGroups=video
EnvironmentFile=-/etc/comfy-supervisor/environment
ExecStartPre={OURS} service prepare
ExecStart={PYTHON} supervisor.supervisord --nodaemon --configuration /var/lib/comfy-supervisor/supervisord.conf
ExecReload={OURS} apply --no-wait
TimeoutStartSec=300
KillMode=mixed
TimeoutStopSec=70
Restart=always
RestartSec=5
OOMPolicy=continue
MemoryHigh=51539607552
LimitNOFILE=65536
TasksMax=8192
StateDirectory=comfy-supervisor
StateDirectoryMode=0700
RuntimeDirectory=comfy-supervisor
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
ProtectSystem=strict
ReadWritePaths=-/srv/ComfyUI "-/srv/a b/50%%/\\"x\\""
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
UMask=0027
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RemoveIPC=yes
KeyringMode=private
DevicePolicy=closed
DeviceAllow=char-195 rw
DeviceAllow=char-nvidia* rw
DeviceAllow=char-drm rw
DeviceAllow=char-kfd rw
CapabilityBoundingSet=
AmbientCapabilities=
RestrictNamespaces=yes
NoNewPrivileges=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallFilter=@chown
SystemCallFilter=ptrace
SystemCallErrorNumber=EPERM
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
[Install]
WantedBy=multi-user.target
"""
"""All that the unit says, comments aside: what is left out or added by a slip is found here."""
ARGUED = {
    "OOMPolicy": "kernel killed",
    "LimitNOFILE": "Models are many files",
    "TasksMax": "torch and its data loaders",
    "ProtectSystem": "~/.triton",
    "ReadWritePaths": "pip install",
    "ProtectHome": "an interpreter",
    "PrivateTmp": "torch's inductor",
    "UMask": "a backend that fetches files",
    "ProtectKernelModules": "nvidia-uvm",
    "RemoveIPC": "data loaders",
    "DevicePolicy": "PrivateDevices= would hide them",
    "CapabilityBoundingSet": "CUDA needs no capability",
    "RestrictNamespaces": "triton",
    "NoNewPrivileges": "nvidia-modprobe",
    "RestrictRealtime": "CUDA's threads",
    "LockPersonality": "debuggers",
    "SystemCallFilter": "torch binds memory",
    "RestrictAddressFamilies": "AF_NETLINK: the machine's addresses",
}
"""What could break CUDA, torch, triton's compiler or pip, and what the comment before it says of it."""


def directives(text: str) -> list[str]:
    """Return a unit's lines without comments and blank ones."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_each_directive_is_there_and_no_other() -> None:
    assert directives(unit(SITE)) == directives(DIRECTIVES)


@pytest.mark.parametrize("name", ARGUED)
def test_what_could_break_cuda_or_its_like_is_argued(name: str) -> None:
    before = unit(SITE).partition(f"\n{name}=")[0]
    paragraph = before.rpartition("\n\n")[2]
    comments = " ".join(line.removeprefix("# ") for line in paragraph.splitlines() if line.startswith("# "))
    assert ARGUED[name] in comments


@pytest.mark.parametrize("policy", ["continue", "stop", "kill"])
def test_what_becomes_of_it_without_memory_can_be_set(policy: str) -> None:
    found = directives(unit(replace(SITE, oom_policy=policy, memory_high=0)))
    assert f"OOMPolicy={policy}" in found
    assert not [line for line in found if line.startswith("MemoryHigh")]


def test_a_run_folder_of_ones_own_is_made_anew_at_each_boot() -> None:
    found = directives(unit(replace(SITE, state=Path("/var/lib/art/state"), run=Path("/run/art"))))
    assert "RuntimeDirectory=art" in found
    assert "StateDirectory=art/state" in found


def test_a_value_can_neither_end_its_word_nor_be_a_variable() -> None:
    words = ["/a b/x", "50%h", 'say "$HOME"', "back\\slash", "semi;colon", ""]
    line = command(words)
    assert shlex.split(line.replace("%%", "%").replace("$$", "$")) == words
    assert quoted("/plain/path-1.2_x") == "/plain/path-1.2_x"


SEPARATED = [
    f"/srv/x{chr(number)}/etc" for number in (0x0B, 0x0C, 0x1C, 0x1E, 0x7F, 0x85, 0x9B, 0x2028, 0x2029, 0x202E)
]
"""Names with what ends a line somewhere: for str.splitlines, for a terminal, for an editor."""


@pytest.mark.parametrize("text", ["a\nExecStart=b", "a\r", "\0", "a\udcff", *SEPARATED])
def test_what_a_unit_can_not_hold_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="has a character that no unit of systemd's can hold; rename it"):
        quoted(text)
    assert quoted("ä 名") == '"ä 名"'


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
