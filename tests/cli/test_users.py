"""Whose processes and whose files: root, an account of its own for ComfyUI, and those who are neither."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator

import psutil
import pytest

import comfy_supervisor
from tests.cli.service import Service
from tests.comfyui_server import STANDIN_FOLDER, image_job
from tests.support import make_program

NAME = "nobody"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: who else may start programs as another user?")


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as nobody."""
    nobody = pwd.getpwnam(NAME)
    return subprocess.run(
        command, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], cwd="/", capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def base() -> str:
    """Give a Python of this one's version that every user may run: root's own is often out of their reach."""
    for needed in (comfy_supervisor.__file__, sysconfig.get_path("purelib")):
        if as_nobody("test", "-r", needed).returncode != 0:
            pytest.skip(f"needs what every user may read, and {NAME} has no way to {needed}")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (os.path.realpath(sys.executable), shutil.which(version, path="/usr/local/bin:/usr/bin")):
        if candidate and as_nobody("test", "-x", candidate).returncode == 0:
            return candidate
    pytest.skip(f"needs a {version} that every user may run")


@pytest.fixture
def open_service(base: str) -> Iterator[Service]:
    """Give a service of root's with an interpreter that every user may run, at a place that they can reach."""
    service = Service(base=base, apart=True)
    service.folder.chmod(0o711)
    yield service
    service.close()


class TestRoot:
    def test_root_is_warned(self, service: Service) -> None:
        assert "note: ComfyUI will run as root" in service.run("render").stderr

    def test_a_user_that_does_not_exist(self, service: Service) -> None:
        service.settings(comfyui={"user": "no-such-user"})
        said = service.refused("render")
        assert 'comfyui.user = "no-such-user": this machine has no such account; create it (useradd' in said
        assert not service.state.exists()

    def test_a_user_that_could_not_even_reach_comfyui(self, service: Service) -> None:
        python = make_program(service.folder / "python", f'exec {service.python} "$@"')
        service.settings(comfyui={"directory": str(STANDIN_FOLDER), "python": str(python), "user": NAME})
        said = service.refused("up", "-d")
        assert f'comfyui.user = "{NAME}": has no way to {python}: ' in said
        assert f'comfyui.user = "{NAME}": has no way to {service.folder}: ' in said
        assert not service.state.exists()


class TestOwnAccount:
    @pytest.fixture
    def nobodys(self, open_service: Service) -> Service:
        """Give a service whose ComfyUI runs as nobody."""
        cache = open_service.folder / "cache"
        cache.mkdir()
        shutil.chown(cache, NAME)
        environment = {"XDG_CACHE_HOME": str(cache)}
        open_service.settings(comfyui={"user": NAME, "environment": environment})
        return open_service

    def test_comfyui_runs_as_the_user_with_the_users_home(self, nobodys: Service) -> None:
        done = nobodys.run("up", "-d")
        assert done.returncode == 0, done
        assert "as root" not in done.stderr
        nobody = pwd.getpwnam(NAME)
        process = psutil.Process(nobodys.info().pid)
        assert set(process.uids()) == {nobody.pw_uid}
        assert set(process.gids()) == {nobody.pw_gid}
        environ = process.environ()
        assert [environ[name] for name in ("HOME", "USER", "LOGNAME")] == [nobody.pw_dir, NAME, NAME]
        assert psutil.Process(nobodys.supervisord_pid()).uids().real == 0
        assert nobodys.finished(nobodys.submit(image_job()))["status"]["completed"]

    def test_the_user_owns_what_is_comfyuis_and_reaches_no_more(self, nobodys: Service) -> None:
        nobodys.ok("up", "-d")
        uid = pwd.getpwnam(NAME).pw_uid
        owners = {name: (nobodys.state / name).stat().st_uid for name in (".", "cpu", "run", "run/cpu", "logs")}
        assert owners == {".": 0, "cpu": uid, "run": 0, "run/cpu": uid, "logs": 0}
        modes = {name: (nobodys.state / name).stat().st_mode & 0o777 for name in owners}
        assert modes == {".": 0o711, "cpu": 0o700, "run": 0o711, "run/cpu": 0o700, "logs": 0o700}
        socket = nobodys.state / "run" / "supervisor.sock"
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(socket)!r})"
        done = as_nobody(os.path.realpath(nobodys.python), "-c", code)
        assert "PermissionError" in done.stderr
        assert as_nobody("cat", str(nobodys.conf)).returncode != 0

    def test_holds_and_backoff_work_across_the_two_users(self, nobodys: Service) -> None:
        nobodys.ok("up", "-d")
        assert (nobodys.state / "cpu" / "starts.json").stat().st_uid == pwd.getpwnam(NAME).pw_uid
        nobodys.ok("stop")
        nobodys.file.write_text(nobodys.file.read_text() + "[restart]\nstop_seconds = 9\n")
        assert "comfyui: stays stopped" in nobodys.ok("apply")
        nobodys.ok("start")
        nobodys.wait_for_api()

    def test_from_root_to_the_user(self, nobodys: Service) -> None:
        """What root's ComfyUI left in the folders is no obstacle."""
        nobodys.ok("up", "-d", COMFY_SUPERVISOR__COMFYUI__USER="", COMFY_SUPERVISOR__COMFYUI__ENVIRONMENT="{}")
        nobodys.ok("down")
        nobodys.ok("up", "-d")
        assert psutil.Process(nobodys.info().pid).username() == NAME
        assert "can't be" not in nobodys.log()


class TestNotRoot:
    def run(self, service: Service, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of our commands as nobody."""
        environ = [f"{name}={value}" for name, value in service.environ.items() if name not in {"HOME", "TMPDIR"}]
        home = service.folder / "cache"
        home.mkdir(exist_ok=True)
        shutil.chown(home, NAME)
        command = [str(service.python), "-m", "comfy_supervisor", "-c", str(service.file), *words]
        return as_nobody("env", "-i", *environ, f"HOME={home}", *command)

    def test_only_root_may_name_a_user(self, open_service: Service) -> None:
        open_service.settings(comfyui={"user": "root"})
        done = self.run(open_service, "render", "--stdout")
        assert done.returncode == 2
        why = f"only root may start programs as somebody else; you are {NAME}"
        assert done.stderr == f'error: {open_service.file}: comfyui.user = "root": {why}\n'

    def test_naming_oneself_is_fine(self, open_service: Service) -> None:
        open_service.settings(comfyui={"user": NAME})
        done = self.run(open_service, "render", "--stdout")
        assert done.returncode == 0, done
        assert "\nuser=" not in done.stdout
        assert "as root" not in done.stderr

    def test_the_folders_of_somebody_else(self, open_service: Service) -> None:
        open_service.ok("render")
        for words in ("render", "render --check", "up -d", "apply", "status", "start", "logs", "down"):
            done = self.run(open_service, *words.split())
            assert done.returncode == 2, done
            assert "not permitted" in done.stderr
            assert done.stderr.count("\n") == 1

    def test_without_root_all_of_it_works_too(self, open_service: Service) -> None:
        home = open_service.folder / "cache"
        open_service.state = home / "state"
        open_service.conf = open_service.state / "supervisord.conf"
        open_service.settings()
        done = self.run(open_service, "up", "-d")
        assert done.returncode == 0, done
        assert psutil.Process(open_service.info().pid).username() == NAME
        assert self.run(open_service, "down").returncode == 0
