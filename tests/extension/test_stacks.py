"""On a signal, every thread's stack, whatever is blocked."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import wait_until

BEGIN = """
import ctypes, pathlib, signal, sys, time
from comfy_supervisor.extension.comfy_supervisor_bridge import stacks
print(stacks.listen(sys.argv[1]), flush=True)
def stuck():
"""
PLACES = {"sleeps": "    time.sleep(600)", "holds the lock": "    while True: ctypes.PyDLL(None).sleep(600)"}
"""A signal ends that sleep."""


@contextmanager
def _stuck(folder: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    code = f"{BEGIN}{PLACES[how]}\nstuck()\n"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "SIGUSR1\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("how", PLACES)
def test_a_signal_has_them_written_and_the_life_befores_are_kept(tmp_path: Path, how: str) -> None:
    file, before = tmp_path / "stacks.txt", tmp_path / "stacks.1.txt"
    with _stuck(tmp_path, how) as process:

        def told() -> bool:
            process.send_signal(signal.SIGUSR1)
            return "in stuck" in file.read_text()

        wait_until(told)
        assert process.poll() is None
    first = file.read_text()
    with _stuck(tmp_path, how):
        assert (before.read_text(), file.read_text()) == (first, "")
    with _stuck(tmp_path, how):
        assert before.read_text() == first, "a life that wrote none does not push the last ones out"
