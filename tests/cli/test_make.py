"""``make run``: how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.service import hear_sigint
from tests.support import make_program, wait_until

ROOT = Path(__file__).parents[2]
RUN = "trap 'sleep 0.3; echo ended; exit 130' INT; echo up; sleep 60 & wait"
"""In place of the command: what a Ctrl-C ends in order."""


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_ctrl_c_lets_it_end_in_order_and_make_adds_nothing(tmp_path: Path) -> None:
    """A terminal sends the signal to make, its shell and the command alike."""
    make_program(tmp_path / "bin" / "comfy-supervisor", RUN)
    (tmp_path / ".installed").touch()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    output = tmp_path / "output"
    with output.open("w") as file:
        make = subprocess.Popen(
            ["make", "run", f"VENV={tmp_path}"],
            cwd=ROOT,
            env=environ,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=hear_sigint,  # noqa: PLW1509  # it takes no lock that another thread could hold
        )
    wait_until(lambda: output.read_text() == "up\n")
    os.killpg(make.pid, signal.SIGINT)
    make.wait(20)
    assert output.read_text() == "up\nended\n"
