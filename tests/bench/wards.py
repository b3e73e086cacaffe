"""Where the peer and our listener are put to the test: each with a supervisord, and a stand-in, of its own."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.cli.service import Service
from tests.comfyui_server import STANDIN_FOLDER
from tests.supervisord import Supervisord
from tests.support import free_port, make_program, wait_until

READY = 120.0
"""Seconds that a ward may take to come up: dozens of them do so at once."""
_PATIENCE = 1.0
"""Seconds for an answer of the API."""
_MAIN = str(STANDIN_FOLDER / "main.py").encode()
_PLAIN = """\
[program:comfyui]
command={command}
directory={folder}
autorestart=true
stopsignal=INT
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={folder}/comfyui.log
"""
_HTTPOK = """\
[eventlistener:httpok]
command={python} -m superlance.httpok -p comfyui -t 10 -E http://127.0.0.1:{port}/prompt
events={tick}
autostart=false
stderr_logfile={folder}/httpok.log
"""


class Ward:
    """One supervisord with a stand-in and whoever watches it; up and well when it has been made."""

    supervisord: int
    """Its pid."""
    log: Path
    """What the one that watches has written."""
    orders: Path
    """What this file says goes wrong at the next start, as in ``$STANDIN_START``."""
    output: Path
    """Where the stand-in puts its pictures."""

    def __init__(self, url: str, close: Callable[[], None]) -> None:
        """Keep the API's root, and what ends it all."""
        self.url = url
        self.close = close

    @contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """End it if it does not come up."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def pid(self) -> int:
        """Return the program's process, which supervisord has started; 0: there is none.

        Asked of the kernel: a question would wake supervisord, which then would see a death sooner.
        """
        children = Path(f"/proc/{self.supervisord}/task/{self.supervisord}/children").read_text(encoding="ascii")
        return max((int(child) for child in children.split() if _MAIN in _command(child)), default=0)

    def answers(self) -> bool:
        """Tell whether the API answers."""
        try:
            return requests.get(f"{self.url}/prompt", timeout=_PATIENCE).ok
        except requests.RequestException:
            return False

    def order(self, do: str, **options: Any) -> None:
        """Have the stand-in do something wrong."""
        requests.post(f"{self.url}/standin", json={"do": do, **options}, timeout=10).raise_for_status()

    def submit(self, node: str, **inputs: Any) -> None:
        """Queue a job of one node."""
        self.queue({"1": {"class_type": node, "inputs": inputs}})

    def queue(self, graph: dict[str, Any]) -> None:
        """Queue a job."""
        requests.post(f"{self.url}/prompt", json={"prompt": graph}, timeout=10).raise_for_status()


def ours(**health: str) -> Ward:
    """Return a service as comfy-supervisor renders it, with these settings for its health listener."""
    service = Service(apart=True)
    ward = Ward(service.url, service.close)
    with ward.closed_on_failure():
        ward.orders, python = _startable(service.folder, str(service.python))
        ward.output = service.folder / "output"
        comfyui = {"directory": str(STANDIN_FOLDER), "python": str(python)}
        extra = ["--output-directory", str(ward.output)]
        service.settings(health=health, comfyui={**comfyui, "extra_args": extra})
        service.ok("up", "-d")
        ward.supervisord, ward.log = service.supervisord_pid(), service.state / "logs" / "comfyui-health.log"
        status = service.state / "cpu" / "status.json"
        wait_until(lambda: status.exists() and '"IDLE"' in status.read_text(), READY, "IDLE")
    return ward


def httpok(tick: str) -> Ward:
    """Return a supervisord with superlance's httpok, which looks at each event of this name."""
    return _peer(_PLAIN + _HTTPOK, "httpok", tick)


def plain() -> Ward:
    """Return a supervisord that restarts what has ended, and nobody else."""
    return _peer(_PLAIN)


def _peer(programs: str, watcher: str = "", tick: str = "") -> Ward:
    """Return one whose watcher begins when all is well: a start that takes longer than its tick it may end for ever."""
    folder = Path(tempfile.mkdtemp(prefix="comfy-supervisor-bench-"))
    supervisord, port = Supervisord(folder), free_port()
    ward = Ward(f"http://127.0.0.1:{port}", lambda: _close(supervisord))
    with ward.closed_on_failure():
        ward.orders, python = _startable(folder, sys.executable)
        command = [str(python), _MAIN.decode(), "--cpu", "--disable-auto-launch", f"--port={port}"]
        for name in ("output", "input", "user", "temp"):
            (folder / name).mkdir()
            command.append(f"--{name}-directory={folder / name}")
        names = {"folder": folder, "python": sys.executable, "port": port, "tick": tick}
        supervisord.start(programs.format(command=shlex.join(command), **names))
        assert supervisord.process
        ward.supervisord, ward.log = supervisord.process.pid, folder / f"{watcher or 'comfyui'}.log"
        ward.output = folder / "output"
        wait_until(ward.answers, READY, "the stand-in under supervisord")
        if watcher:
            started = supervisord.rpc.start(watcher)
            assert started is True, started
    return ward


def _command(pid: str) -> list[bytes]:
    """Return a process's command line; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _startable(folder: Path, python: str) -> tuple[Path, Path]:
    """Make an interpreter whose stand-in starts as a file says; return the file and the interpreter."""
    orders = folder / "start-fault"
    order = f'export STANDIN_START="$(cat {orders} 2>/dev/null)"'
    return orders, make_program(folder / "python", f'{order}\nexec {python} "$@"')


def _close(supervisord: Supervisord) -> None:
    supervisord.close()
    shutil.rmtree(supervisord.folder)
