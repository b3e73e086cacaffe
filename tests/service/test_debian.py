"""Debian's own supervisor package runs what ``service install --into`` puts into its conf.d."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfy_supervisor import rpc
from tests.cli.conftest import service
from tests.cli.service import Service
from tests.comfyui_server import image_job
from tests.support import wait_until

__all__ = ["service"]

SUPERVISORD, SUPERVISORCTL = (Path("/usr/bin") / name for name in ("supervisord", "supervisorctl"))
CONFIGURATION = Path("/etc/supervisor/supervisord.conf")

pytestmark = pytest.mark.skipif(
    not SUPERVISORD.exists() or not CONFIGURATION.exists(), reason="this machine has no supervisor package of Debian's"
)


def of_the_tests(folder: Path) -> Path:
    """Write Debian's configuration, its folders within another; return the file."""
    text = CONFIGURATION.read_text()
    for theirs in ("/var/run", "/var/log/supervisor", "/etc/supervisor"):
        (folder / theirs[1:]).mkdir(parents=True)
        text = text.replace(f"{theirs}/", f"{folder}{theirs}/").replace(f"={theirs} ", f"={folder}{theirs} ")
    text = text.replace("childlogdir=/var/log/supervisor", f"childlogdir={folder}/var/log/supervisor")
    (folder / "etc/supervisor/conf.d").mkdir()
    file = folder / "etc/supervisor/supervisord.conf"
    file.write_text(text)
    return file


@contextmanager
def debians(service: Service, file: Path) -> Iterator[rpc.Supervisor]:
    """Run Debian's supervisord as its service does, with its own Python."""
    argv = [str(SUPERVISORD), "-n", "-c", str(file)]
    with subprocess.Popen(argv, cwd="/", env=service.environ, stdout=subprocess.DEVNULL) as process:
        try:
            yield rpc.Supervisor(f"unix://{service.folder}/debian/var/run/supervisor.sock")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def state(supervisor: rpc.Supervisor, program: str) -> str:
    process = supervisor.process(program)
    return "" if isinstance(process, rpc.Failure) else process.statename


def test_it_starts_what_is_put_into_its_folder_and_takes_changes_over(service: Service) -> None:
    file = of_the_tests(service.folder / "debian")
    with debians(service, file) as supervisor:
        wait_until(lambda: isinstance(supervisor.pid(), int), what="Debian's supervisord answers")
        said = service.ok("service", "install", "--into", str(file.parent / "conf.d"))
        assert "Next: supervisorctl update" in said
        update = subprocess.run(
            [str(SUPERVISORCTL), "-c", str(file), "update"], capture_output=True, text=True, check=True
        )
        assert "comfyui: added process group" in update.stdout
        wait_until(service.answers, 60, "no API")
        assert service.finished(service.submit(image_job()))["status"]["completed"]
        wait_until(lambda: state(supervisor, "comfyui-health") == "RUNNING", what="the health listener runs")
        wait_until((service.state / "cpu" / "status.json").exists, 60, "the health listener has looked")
    assert not service.processes()
