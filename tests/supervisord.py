"""A real supervisord of a test's own: started from the text of its programs, ended with all that it started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from comfy_supervisor.rpc import Failure, Process, Supervisor
from tests.support import wait_until

EXECUTABLE = os.environ.get("SUPERVISORD") or str(Path(sys.executable).with_name("supervisord"))
"""$SUPERVISORD runs the tests on another release than the one that is installed beside this Python."""

_MARK = "COMFY_SUPERVISOR_TEST"

_CONF = """\
[supervisord]
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid
childlogdir = {folder}
[unix_http_server]
file = {socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{socket}
"""


class Supervisord:
    """One supervisord in the foreground, with a configuration of its own."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder for its configuration and logs; nothing is started yet."""
        self.folder = folder
        self.conf = folder / "supervisord.conf"
        self.log = folder / "supervisord.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._mark = uuid.uuid4().hex
        self._sockets = Path(tempfile.mkdtemp(prefix="cs-"))  # a test's own folder may be too long for a socket
        self.socket = self._sockets / "s"
        self.url = f"unix://{self.socket}"
        self.rpc = Supervisor(self.url)

    def configure(self, programs: str) -> None:
        """Write the configuration: what every supervisord needs, and these sections."""
        self.conf.write_text(_CONF.format(folder=self.folder, socket=self.socket) + programs)

    def start(self, programs: str = "") -> None:
        """Start it with these sections, or as it is configured, and wait for its first answer."""
        if programs or not self.conf.exists():
            self.configure(programs)
        with (self.folder / "supervisord.out").open("ab") as output:
            self.process = subprocess.Popen(
                [EXECUTABLE, "-n", "-c", str(self.conf)],
                cwd=self.folder,
                env={**os.environ, _MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_until(lambda: self.rpc.state() == "RUNNING", what=self.log_text())

    def info(self, program: str = "comfyui") -> Process:
        """Return what supervisord says of a program; fails if it doesn't."""
        answer = self.rpc.process(program)
        assert not isinstance(answer, Failure), answer
        return answer

    def pid(self, program: str = "comfyui") -> int:
        """Return a program's process once it has one: who signals process 0 signals all of the tests."""
        return wait_until(lambda: self.info(program).pid, what=f"{program} runs")

    def log_text(self) -> str:
        """Return supervisord's own log so far."""
        return self.log.read_text() if self.log.exists() else ""

    def kill(self) -> None:
        """End supervisord at once, and nothing else: its programs live on."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """End supervisord and whatever it started, also what has left its process group."""
        self.kill()
        wait_until(lambda: not self._kill_left())
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _kill_left(self) -> bool:
        """Kill what is left of its programs; tell whether there was something."""
        left = False
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get(_MARK) == self._mark:
                    process.kill()
                    left = True
        return left


@pytest.fixture
def supervisord(tmp_path: Path) -> Iterator[Supervisord]:
    """Give a supervisord that isn't started yet, and leave nothing of it behind."""
    folder = tmp_path / "supervisord"
    folder.mkdir()
    supervisord = Supervisord(folder)
    yield supervisord
    supervisord.close()
