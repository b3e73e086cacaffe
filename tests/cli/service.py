"""The command line as its users run it: real commands, a supervisord of its own, the stand-in for ComfyUI."""

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import requests

from comfy_supervisor.cli import main
from comfy_supervisor.rpc import Failure, Process, Supervisor
from tests.support import free_port, make_comfyui, make_program, wait_until

_MARK = "CLI_TEST"
"""In the environment of whatever a test starts, also of what leaves its process group."""
_FOREIGN = ("COMFY", "XDG_", "STANDIN", "SUPERVISOR", "FAKE_NVML", "PYTHON")
"""How variables begin that would let a developer's own set-up into a test."""

DEADLINE = 100.0
"""Seconds for any command: a real ComfyUI may take most of them."""

Done = subprocess.CompletedProcess[str]


def make_venv(folder: Path, base: str = "") -> Path:
    """Make a virtual environment that sees what is installed in ours; return its interpreter.

    The commands write a link into their environment's ``etc``: not into that of whoever runs the tests.
    """
    executable = Path(base or os.path.realpath(sys.executable))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (packages / "tests.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    (folder / "pyvenv.cfg").write_text(f"home = {executable.parent}\ninclude-system-site-packages = false\n")
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.symlink_to(executable)
    for name in ("supervisorctl", "supervisord"):
        code = f"import sys; from supervisor.{name} import main; sys.argv[0] = '{folder}/bin/{name}'; main()"
        make_program(folder / "bin" / name, f'exec {python} -c "{code}" "$@"')
    return python


def without_torch(service: Service) -> dict[str, Any]:
    """Make a ComfyUI whose interpreter has nothing but the standard library; return the settings that mean it."""
    python = make_program(service.folder / "no-torch", f'exec {service.python} -S "$@"')
    return {"directory": str(make_comfyui(service.folder / "ComfyUI")), "python": str(python)}


class Service:
    """One user with settings, folders and a port, and all that the user's commands start."""

    def __init__(self, environ: Mapping[str, str] | None = None, *, base: str = "", apart: bool = False) -> None:
        """Make the folders; ``environ`` is added to that of every command. Nothing is started.

        ``base`` is the interpreter to make the virtual environment from, by default ours. Commands run within
        this process, which spares each an interpreter's start, or ``apart``, in one of their own.
        """
        self.apart = apart
        self.folder = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))  # elsewhere may be too long for a socket
        self.python = make_venv(self.folder / "venv", base)
        self.state = self.folder / "state"
        self.conf = self.state / "supervisord.conf"
        self.file = self.folder / "comfy-supervisor.toml"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._mark = uuid.uuid4().hex
        self._started: list[subprocess.Popen[str]] = []
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)},
            "HOME": str(self.folder / "home"),
            "TQDM_DISABLE": "0",
            _MARK: self._mark,
            **(environ or {}),
        }
        (self.folder / "home").mkdir()
        self.settings()

    def settings(self, **tables: dict[str, Any]) -> None:
        """Write the settings file: the stand-in on the CPU and this user's folders, unless said otherwise."""
        defaults: dict[str, dict[str, Any]] = {
            "comfyui": {"directory": "standin", "port": self.port},
            "gpu": {"devices": "cpu"},
            "paths": {"state": str(self.state)},
        }
        lines = []
        for table in dict.fromkeys([*defaults, *tables]):
            values = {**defaults.get(table, {}), **tables.get(table, {})}
            lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
        self.file.write_text("\n".join(lines) + "\n")

    def run(self, *arguments: str, **environ: str) -> Done:
        """Run a command to its end, its output not on a terminal."""
        if not self.apart:
            return self._call(arguments, {**self.environ, **environ})
        return subprocess.run(
            [self.python, "-m", "comfy_supervisor", *arguments],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def _call(self, arguments: tuple[str, ...], environ: Mapping[str, str]) -> Done:
        before = Path.cwd()
        with (
            patch.dict(os.environ, environ, clear=True),
            patch.object(sys, "prefix", str(self.folder / "venv")),
            redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)) as out,
            redirect_stderr(io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)) as err,
        ):
            os.chdir(self.folder)
            try:
                code = main(arguments)
            finally:
                os.chdir(before)
        return Done(arguments, code, *(stream.buffer.getvalue().decode() for stream in (out, err)))

    def ok(self, *arguments: str, **environ: str) -> str:
        """Run a command that has to end well; return its standard output."""
        done = self.run(*arguments, **environ)
        assert done.returncode == 0, done
        return done.stdout

    def refused(self, *arguments: str, **environ: str) -> str:
        """Run a command that is the user's mistake; return what it says of it."""
        done = self.run(*arguments, **environ)
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
        return done.stderr

    def start(self, *arguments: str, **environ: str) -> Started:
        """Start a command and leave it running."""
        started = Started(self, arguments, environ)
        self._started.append(started.process)
        return started

    def on_terminal(self, command: str, text: str) -> str:
        """Run a command on a terminal until a text is shown, then press Ctrl-C; return all that was shown."""
        ours, theirs = pty.openpty()
        environ = {**self.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
        arguments = [str(self.python), "-m", "comfy_supervisor", command]
        seen = b""
        with subprocess.Popen(
            arguments, cwd=self.folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        ) as live:
            os.close(theirs)
            while text.encode() not in seen:
                seen += os.read(ours, 65536)
            live.send_signal(signal.SIGINT)
            assert live.wait(20) == 130
        os.close(ours)
        return seen.decode()

    def supervisorctl(self, *arguments: str) -> Done:
        """Run the bare ``supervisorctl`` of the virtual environment, without any option."""
        command = [str(self.python.with_name("supervisorctl")), *arguments]
        return subprocess.run(
            command, cwd="/", env=self.environ, capture_output=True, text=True, timeout=DEADLINE, check=False
        )

    @property
    def rpc(self) -> Supervisor:
        """The supervisord that the rendered configuration means."""
        text = self.conf.read_text(errors="replace") if self.conf.exists() else ""
        sockets = [line.partition("=")[2] for line in text.splitlines() if line.startswith("file=/")]
        return Supervisor(f"unix://{sockets[0] if sockets else '/nowhere'}")

    def info(self, program: str = "comfyui") -> Process:
        """Return what supervisord says of a program; fails if it doesn't."""
        answer = self.rpc.process(program)
        assert not isinstance(answer, Failure), answer
        return answer

    def pid(self, program: str = "comfyui") -> int:
        """Return a program's process once it has one: who signals process 0 signals all of the tests."""
        return wait_until(lambda: self.info(program).pid, what=f"{program} runs")

    def supervisord_pid(self) -> int:
        """Return the pid of the supervisord that runs; fails if none does."""
        pid = self.rpc.pid()
        assert isinstance(pid, int), pid
        return pid

    def status(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what ``status --json`` tells."""
        rows: list[dict[str, Any]] = json.loads(self.ok("status", "--json", *arguments))
        return rows

    def answers(self, port: int | None = None) -> bool:
        """Tell whether ComfyUI's API answers."""
        try:
            return requests.get(f"http://127.0.0.1:{port or self.port}/prompt", timeout=5).ok
        except requests.RequestException:
            return False

    def submit(self, prompt: Mapping[str, Any], port: int | None = None) -> str:
        """Queue a job and return its id."""
        url = f"http://127.0.0.1:{port or self.port}/prompt"
        prompt_id: str = requests.post(url, json={"prompt": prompt}, timeout=30).json()["prompt_id"]
        return prompt_id

    def finished(self, prompt_id: str, port: int | None = None) -> dict[str, Any]:
        """Wait until a job is in the history and return its entry."""
        url = f"http://127.0.0.1:{port or self.port}/history/{prompt_id}"
        wait_until(lambda: requests.get(url, timeout=30).json(), DEADLINE, f"{prompt_id} did not finish")
        entry: dict[str, Any] = requests.get(url, timeout=30).json()[prompt_id]
        return entry

    def wait_for_api(self, port: int | None = None, deadline: float = 30.0) -> None:
        """Wait until the API answers."""
        wait_until(lambda: self._poked() and self.answers(port), deadline, f"no API\n{self.log()}")

    def wait_for_log(self, text: str, name: str = "comfyui") -> None:
        """Wait until ComfyUI's log has a text."""
        wait_until(lambda: self._poked() and text in self.log(name), what=f"{text!r} in the log")

    def _poked(self) -> bool:
        """Ask supervisord something: it starts what has died at its next turn, which else is up to a second away."""
        return bool(self.rpc.state())

    def log(self, name: str = "comfyui") -> str:
        """Return a log so far."""
        file = self.state / "logs" / f"{name}.log"
        return file.read_text() if file.exists() else ""

    def processes(self) -> list[psutil.Process]:
        """Return what lives of all that was started."""
        return list(self._processes())

    def commands(self) -> dict[int, list[str]]:
        """Return the argv of what lives, by pid."""
        found = {}
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                found[process.pid] = process.cmdline()
        return found

    def _processes(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def close(self) -> None:
        """Bring everything down as its user would; then nothing may be left."""
        try:
            self._continue_stopped()
            self.rpc.shutdown()
            for process in self._started:
                process.send_signal(signal.SIGTERM)
            wait_until(lambda: isinstance(self.rpc.state(), Failure), 60, "supervisord is no more")
            wait_until(lambda: not self.processes(), 60, f"left: {self.commands()}")
        finally:
            for each in self.processes():
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            for process in self._started:
                process.wait()
            shutil.rmtree(self.folder)

    def _continue_stopped(self) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_STOPPED:
                    process.resume()


class Started:
    """A command that runs beside the test, and what it has printed so far."""

    def __init__(self, service: Service, arguments: tuple[str, ...], environ: Mapping[str, str]) -> None:
        """Start it in a session of its own, its output in a file."""
        descriptor, name = tempfile.mkstemp(dir=service.folder)
        self._file = Path(name)
        with os.fdopen(descriptor, "w") as output:
            self.process = subprocess.Popen(
                [service.python, "-m", "comfy_supervisor", *arguments],
                cwd=service.folder,
                env={**service.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
                preexec_fn=hear_sigint,  # noqa: PLW1509  # it takes no lock that another thread could hold
            )

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._file.read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed a text."""
        wait_until(lambda: text in self.output or self._dead(), what=f"{text!r} in {self.output}")
        assert text in self.output

    def wait_for_count(self, text: str, count: int) -> None:
        """Wait until it has printed a text so many times."""
        wait_until(lambda: self.output.count(text) >= count, what=f"{count} times {text!r} in {self.output}")
        assert self.output.count(text) == count

    def _dead(self) -> bool:
        return self.process.poll() is not None

    def interrupt(self) -> None:
        """Press Ctrl-C on its terminal: the signal goes to its whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, deadline: float = 30.0) -> int:
        """Wait for its end; return the exit code."""
        return self.process.wait(deadline)


def hear_sigint() -> None:
    """Undo what a shell does to those in its background, as the tests themselves may be."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)
