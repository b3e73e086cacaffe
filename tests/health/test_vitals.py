"""The memory of a process and of what it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from comfy_supervisor.health import vitals
from tests.support import wait_until

MIB = 1024 * 1024
HOLD = "import sys, time; kept = bytearray({size}); kept[::4096] = b'x' * len(kept[::4096]); {then}"


def test_children_are_counted() -> None:
    child = HOLD.format(size=60 * MIB, then="time.sleep(600)")
    parent = HOLD.format(size=40 * MIB, then=f"import subprocess; subprocess.run([sys.executable, '-c', {child!r}])")
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: vitals.memory(process.pid) > 100 * MIB)
        assert vitals.memory(process.pid) < 300 * MIB
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_process_that_is_gone_has_none() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert vitals.memory(process.pid) == 0
