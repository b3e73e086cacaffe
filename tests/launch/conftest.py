"""An instance as the rendered configuration has it: the launcher, under supervisord, with a script for ComfyUI."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from comfy_supervisor.launch import holds
from tests.supervisord import Supervisord
from tests.support import free_port, make_program, wait_until

SERVE = "trap 'kill $!; exit 0' INT; sleep 1000 & wait"
"""A ComfyUI that works: SIGINT ends it with status 0."""


class Instance:
    """One program of a supervisord, and the files of its launcher."""

    def __init__(self, supervisord: Supervisord, folder: Path) -> None:
        self.supervisord = supervisord
        self.state = folder / "state" / "cpu"
        self.run = folder / "run" / "cpu"
        self.log = folder / "comfyui.log"
        self.lives_file = folder / "lives"
        self.command = folder / "comfyui.sh"
        self.port = free_port()
        self.script(SERVE)

    def script(self, text: str) -> None:
        """Say what ComfyUI does once it has noted its pid and the time."""
        make_program(self.command, f'echo "$$ $(date +%s.%N)" >> {self.lives_file}\n{text}')

    def section(self, **environment: str) -> str:
        """Return the program's section of supervisord's configuration."""
        environment = {
            "COMFY_SUPERVISOR_INSTANCE": "cpu",
            "COMFY_SUPERVISOR_STATE": str(self.state),
            "COMFY_SUPERVISOR_RUN": str(self.run),
            "COMFY_SUPERVISOR_ADDRESS": f"127.0.0.1:{self.port}",
            **environment,
        }
        launcher = [sys.executable, "-I", "-m", "comfy_supervisor.launch", "cpu", "--", str(self.command)]
        variables = ",".join(f'{name}="{value}"' for name, value in environment.items())
        return (
            f"[program:comfyui]\ncommand = {shlex.join(launcher)}\nenvironment = {variables}\n"
            f"startsecs = 0\nautorestart = true\nstopsignal = INT\nstopasgroup = true\nkillasgroup = true\n"
            f"redirect_stderr = true\nstdout_logfile = {self.log}\n"
        )

    def start(self, **environment: str) -> None:
        """Start supervisord, and thereby the instance."""
        self.supervisord.start(self.section(**environment))

    def hold(self, hold: holds.Hold) -> None:
        """Put a hold up."""
        self.run.mkdir(parents=True, exist_ok=True)
        holds.write(str(self.run), hold)

    @property
    def lives(self) -> list[tuple[int, float]]:
        """ComfyUI's pids and times of start so far."""
        if not self.lives_file.exists():
            return []
        lines = self.lives_file.read_text().splitlines()
        return [(int(line.split()[0]), float(line.split()[1])) for line in lines]

    def wait_for_life(self, count: int, deadline: float = 30.0) -> int:
        """Wait until ComfyUI was started so many times; return the pid of that life."""
        wait_until(lambda: self._poked() and len(self.lives) >= count, deadline, f"life {count}")
        return self.lives[count - 1][0]

    def wait_for_log(self, text: str) -> None:
        """Wait until ComfyUI's log has a text."""
        wait_until(lambda: self._poked() and text in self.log_text(), what=f"{text!r} in the log")

    def _poked(self) -> bool:
        """Ask supervisord something: it starts what has died at its next turn, which else is up to a second away."""
        return bool(self.supervisord.rpc.state())

    def log_text(self) -> str:
        """Return ComfyUI's log so far."""
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def instance(supervisord: Supervisord, tmp_path: Path) -> Instance:
    """Give an instance that isn't started yet."""
    return Instance(supervisord, tmp_path)
