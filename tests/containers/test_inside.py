"""What runs in a container: Dockerfile's commands with its settings, in a pid namespace, without an engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import psutil
import pytest

from tests.cli.service import make_venv
from tests.support import free_port, make_program, wait_until

NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
ENTER = ["nsenter", "--pid", "--mount"]
CONFINED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
"""As compose.yaml has it: no capability is left, and none can be gained."""
if os.geteuid():
    CONFINED = CONFINED[:1] + CONFINED[-1:]  # whoever isn't root has none
    NAMESPACE += ["--user", "--map-current-user", "--mount"]
    ENTER += ["--user", "--preserve-credentials"]

DOCKERFILE = (Path(__file__).parents[2] / "Dockerfile").read_text()
IMAGE = dict(re.findall(r"(COMFY_SUPERVISOR__\w+)=(\S+)", DOCKERFILE))
"""The settings that the image comes with."""
GIVEN_UP = "all that is to run is given up (--exit-on-give-up): stopping supervisord"
STANDIN_START = "COMFY_SUPERVISOR__COMFYUI__ENVIRONMENT__STANDIN_START"
MISSING = {STANDIN_START: "missing_module"}
DYING = {
    STANDIN_START: "end:3",
    "COMFY_SUPERVISOR__HEALTH__PRESET": "fast",
    "COMFY_SUPERVISOR__RESTART__FIRST_DELAY": "4",
    "COMFY_SUPERVISOR__RESTART__BUDGET": "1",
}
needs_tini = pytest.mark.skipif(not shutil.which("tini"), reason="this machine has no tini")


def words(instruction: str) -> list[str]:
    """Return the command line of Dockerfile's only such instruction."""
    (line,) = re.findall(rf"^{instruction} .*$", DOCKERFILE, re.MULTILINE)
    found: list[str] = json.loads(line[line.index("[") :])
    return found


@lru_cache(maxsize=1)
def obstacle() -> str:
    """Return why there is no such namespace to be had; empty if there is."""
    if not all(map(shutil.which, ("unshare", "nsenter", "setpriv"))):
        return "this machine has no unshare, nsenter and setpriv"
    done = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    return f"no pid namespace to be had: {done.stderr.strip()}" if done.returncode else ""


@dataclass
class Container:
    """A namespace in which the image's command runs; its folder outlives it, as the container's own disk does."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        """Give it the image's commands: of a virtual environment of its own, since they write into that."""
        self.python = make_venv(self.folder / "venv")
        make_program(self.commands / "comfy-supervisor", f'exec {self.python} -m comfy_supervisor "$@"')

    @property
    def commands(self) -> Path:
        """The folder of what is installed in it."""
        return self.python.parent

    @property
    def environ(self) -> dict[str, str]:
        """The variables: the image's settings, but for what must differ here."""
        return {
            "HOME": str(self.folder),
            "PATH": f"{self.commands}:{os.environ['PATH']}",
            **IMAGE,
            "COMFY_SUPERVISOR__COMFYUI__DIRECTORY": "standin",
            "COMFY_SUPERVISOR__COMFYUI__PORT": str(self.port),
            "COMFY_SUPERVISOR__GPU__DEVICES": "cpu",
            "COMFY_SUPERVISOR__PATHS__STATE": str(self.folder / "state"),
            "COMFY_SUPERVISOR__PATHS__RUN": str(self.folder / "run"),
        }

    def start(self, environ: Mapping[str, str] = MappingProxyType({}), *, init: bool = False) -> None:
        """Run it, with tini as its first process or without."""
        entry = words("ENTRYPOINT")
        argv = [*NAMESPACE, *CONFINED, *(entry if init else entry[entry.index("--") + 1 :]), *words("CMD")]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                argv, env={**self.environ, **environ}, cwd=self.folder, stdout=output, stderr=output, text=True
            )

    @property
    def output(self) -> Path:
        """What it says."""
        return self.folder / "said"

    def ready(self) -> None:
        """Wait until it says that the API answers."""
        wait_until(lambda: "API ready in" in self.output.read_text(), 60)

    def first(self) -> psutil.Process:
        """Return its first process, as it is seen from outside."""
        assert self.process
        return psutil.Process(self.process.pid).children()[0]

    def execute(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as ``docker exec`` does."""
        enter = [*ENTER, "--target", str(self.first().pid), *CONFINED, *argv]
        return subprocess.run(enter, env=self.environ, capture_output=True, text=True, timeout=60, check=False)

    def ended(self) -> int:
        """Wait for its end, and return the exit code."""
        assert self.process
        return self.process.wait(60)

    def kill(self) -> None:
        """End it as the kernel does where the memory is short."""
        assert self.process
        everyone = self.first().children(recursive=True)
        self.first().kill()
        self.process.wait()
        psutil.wait_procs(everyone, 10)

    def log(self, name: str) -> str:
        return (self.folder / "state" / "logs" / f"{name}.log").read_text()


@pytest.fixture
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    why = obstacle()
    if why:
        pytest.skip(why)
    one = Container(tmp_path_factory.mktemp("c"))
    yield one
    if one.process and one.process.poll() is None:
        one.process.kill()
        one.process.wait()


def test_it_needs_no_capability(container: Container) -> None:
    """Whatever else is tested here is so without, too."""
    container.start()
    container.ready()
    everyone = [container.first(), *container.first().children(recursive=True)]
    status = [Path(f"/proc/{each.pid}/status").read_text() for each in everyone]
    held = [re.findall(r"^(?:Cap(?:Inh|Prm|Eff)|NoNewPrivs):\t(\w+)$", text, re.MULTILINE) for text in status]
    assert held == [["0" * 16, "0" * 16, "0" * 16, "1"]] * len(everyone)


@pytest.mark.parametrize("init", [False, pytest.param(True, marks=needs_tini)], ids=["alone", "tini"])
def test_sigterm_ends_comfyui_then_supervisord_with_exit_code_0(container: Container, init: bool) -> None:
    container.start(init=init)
    container.ready()
    inner = container.first().children(recursive=True)
    container.first().terminate()
    assert container.ended() == 0, container.output.read_text()
    assert "stopping ComfyUI, then supervisord" in container.output.read_text()
    assert "Stopped server" in container.log("comfyui")
    assert "stopped: comfyui (exit status 0)" in container.log("supervisord")
    assert not any(each.is_running() for each in inner)


def test_it_is_healthy_while_it_takes_jobs_and_at_no_other_time(container: Container) -> None:
    """An engine takes 0 and 1; there is nothing else that the command may say."""
    container.start({STANDIN_START: "slow:3"})
    wait_until(lambda: "importing" in container.output.read_text(), 60)
    assert container.execute(*words("HEALTHCHECK")).returncode == 1
    container.ready()
    done = container.execute(*words("HEALTHCHECK"))
    assert done.returncode == 0, done.stdout + done.stderr
    container.execute("comfy-supervisor", "stop")
    assert container.execute(*words("HEALTHCHECK")).returncode == 1


@pytest.mark.parametrize("trouble", [MISSING, DYING], ids=["missing module", "dies again and again"])
def test_one_that_is_given_up_ends_with_exit_code_1_and_starts_once_it_is_mended(
    container: Container, trouble: dict[str, str]
) -> None:
    container.start(trouble)
    assert container.ended() == 1, container.output.read_text()
    *_, why, last = container.output.read_text().splitlines()
    assert "comfyui: held: " in why
    assert last.endswith(GIVEN_UP)
    assert "stopped: comfyui-health" in container.log("supervisord")
    container.start()
    container.ready()


def test_supervisorctl_works_in_it_without_an_option(container: Container) -> None:
    container.start()
    container.ready()
    assert "RUNNING" in container.execute("supervisorctl", "status", "comfyui").stdout


def test_one_that_was_killed_starts_again(container: Container) -> None:
    """With the same pids as before, and all that the first one has left: socket, lock, notes."""
    container.start()
    container.ready()
    container.kill()
    container.start()
    container.ready()
    assert container.execute(*words("HEALTHCHECK")).returncode == 0


@needs_tini
def test_what_others_leave_behind_is_reaped(container: Container) -> None:
    container.start(init=True)
    container.ready()
    orphan = container.execute("sh", "-c", "sleep 0.1 >/dev/null 2>&1 & echo $!").stdout.strip()
    gone = f"test ! -e /proc/{orphan}"
    wait_until(lambda: container.execute("sh", "-c", gone).returncode == 0, what="no zombie is left")
