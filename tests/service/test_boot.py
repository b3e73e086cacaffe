"""A machine boots, the service is installed, killed, and there after a reboot: with the real systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BOOT = Path(__file__).with_name("boot.sh")
SYSTEMD = Path("/usr/lib/systemd/systemd")


def obstacle() -> str:
    """Return why this machine can't boot another one; empty if it can."""
    if os.geteuid():
        return "only root may make the namespaces for it"
    if not SYSTEMD.exists() or not shutil.which("unshare") or not shutil.which("useradd"):
        return "it takes systemd, unshare and useradd"
    if any(Path(each).is_relative_to("/tmp") for each in (sys.executable, __file__)):
        return "the service has a /tmp of its own, and would not see our code there"
    tried = ["sh", "-c", "mount -t tmpfs x /mnt && mkdir /mnt/a /mnt/b /mnt/c"]
    overlay = "mount -t overlay x -o lowerdir=/,upperdir=/mnt/a,workdir=/mnt/b /mnt/c && mount -t cgroup2 x /mnt/a"
    argv = ["unshare", "--mount", "--pid", "--fork", "--cgroup", "--net", *tried[:2], f"{tried[2]} && {overlay}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return f"no namespaces, overlays or cgroups to be had: {done.stderr.strip()}" if done.returncode else ""


@pytest.mark.packaging  # once is enough
@pytest.mark.timeout(900)
def test_it_comes_back_after_kills_and_a_reboot_with_its_jobs_and_goes_without_a_trace() -> None:
    why = obstacle()
    if why:
        pytest.skip(why)
    done = subprocess.run([BOOT, sys.executable], capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("supervisord", "the listener", "ComfyUI"):
        assert f"ok: {what} (pid" in done.stdout
    assert "ok: the job is back" in done.stdout
    assert "ok: and nobody has logged in" in done.stdout or "left out: a user's own service" in done.stdout
