"""Whose processes and whose files: root, an account of its own for ComfyUI, and those who are neither."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

import comfy_supervisor
from comfy_supervisor import machine, paths, plan
from comfy_supervisor.comfyui.torch import torch_facts
from comfy_supervisor.model import Installation
from tests.cli.service import Service
from tests.comfyui_server import STANDIN_FOLDER, image_job, sleep_job
from tests.nvml import Card, Nvml
from tests.support import CLI_ARGS, make_comfyui, make_program, wait_until

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

    def test_root_goes_on_as_whoever_the_state_folder_belongs_to(self, open_service: Service) -> None:
        """Files of root's would be out of that account's reach."""
        nobody = pwd.getpwnam(NAME)
        open_service.state.mkdir()
        os.chown(open_service.state, nobody.pw_uid, nobody.pw_gid)
        open_service.ok("render")
        assert (open_service.state / "supervisord.conf").exists()
        found = open_service.run("doctor").stdout
        assert "as root" not in found
        assert "would change" not in found
        assert {file.stat().st_uid for file in open_service.state.rglob("*")} == {nobody.pw_uid}

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

    @pytest.mark.parametrize("extension", [True, False])
    def test_a_user_that_could_not_load_the_extension(
        self, extension: bool, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Path(shutil.copytree(plan.EXTENSION, service.folder / "extension")) / "comfy_supervisor_bridge"
        monkeypatch.setattr(plan, "EXTENSION", folder.parent)
        service.settings(comfyui={"user": NAME}, jobs={"extension": extension})
        said = service.refused("render")
        assert [f"has no way to {folder / name}: " in said for name in ("__init__.py", "schema.sql")] == [extension] * 2


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
        process = psutil.Process(nobodys.pid())
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

    def test_jobs_outlive_comfyui_across_the_two_users(self, nobodys: Service) -> None:
        """The extension writes the journal as the user, the listener as root: it stays the user's, closed to others."""
        nobodys.ok("up", "-d")
        prompt_id = nobodys.submit(sleep_job(3.0))
        before = nobodys.pid()
        wait_until(lambda: requests.get(f"{nobodys.url}/queue", timeout=30).json()["queue_running"])
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: nobodys.rpc.state() and nobodys.pid() != before)
        nobodys.wait_for_api()
        assert nobodys.finished(prompt_id)["status"]["completed"]
        for file in (nobodys.state / "cpu").glob("journal.sqlite*"):
            status = file.stat()
            assert (status.st_uid, oct(status.st_mode & 0o777)) == (pwd.getpwnam(NAME).pw_uid, "0o600"), file
        assert "can't be" not in nobodys.log("comfyui-health")

    def test_from_root_to_the_user(self, nobodys: Service) -> None:
        """What root's ComfyUI left in the folders is handed over: its own, and nothing beyond."""
        nobodys.ok("up", "-d", COMFY_SUPERVISOR__COMFYUI__USER="", COMFY_SUPERVISOR__COMFYUI__ENVIRONMENT="{}")
        nobodys.ok("down")
        own, roots = nobodys.state / "cpu", nobodys.folder / "roots"
        (own / "user" / "default").mkdir(parents=True)
        (own / "user" / "default" / "settings.json").write_text("{}")
        (own / "of-another").touch()
        os.chown(own / "of-another", 1, 1)
        roots.mkdir()
        (roots / "precious").touch()
        (own / "link").symlink_to(roots / "precious")
        (own / "user" / "folder").symlink_to(roots)
        nobodys.ok("up", "-d")
        uid = pwd.getpwnam(NAME).pw_uid
        left = ("starts.json", "link", "user", "user/default", "user/default/settings.json", "user/folder")
        assert {(own / name).lstat().st_uid for name in left} == {uid}
        assert (own / "of-another").stat().st_uid == 1
        assert {path.stat().st_uid for path in (roots, roots / "precious", nobodys.conf)} == {0}
        assert psutil.Process(nobodys.pid()).username() == NAME
        assert "can't be" not in nobodys.log()


class TestFragment:
    """In the conf.d of a supervisord that knows nothing of our folders."""

    @pytest.fixture
    def shared(self, base: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
        """Give a service of root's with this machine's shared folders, at another place."""
        service = Service(base=base)
        service.folder.chmod(0o711)
        monkeypatch.setattr(sys, "executable", str(service.python))
        for module in (paths, machine):
            monkeypatch.setattr(module, "SHARED_STATE", service.folder / "var")
            monkeypatch.setattr(module, "SHARED_RUN", service.folder / "run")
        service.file.write_text(
            f'comfyui = {{directory = "standin", port = {service.port}, user = "{NAME}"}}\ngpu.devices = "cpu"\n'
        )
        yield service
        service.close()

    def test_after_a_reboot_the_account_can_still_write_its_hold(self, shared: Service) -> None:
        shared.ok("render", "--fragment", "-o", "conf.d")
        shutil.rmtree(shared.folder / "run", ignore_errors=True)  # it is on a tmpfs
        text = (shared.folder / "conf.d" / "comfyui.conf").read_text()
        environ = dict(re.findall(r'(COMFY_SUPERVISOR_\w+)="(.*?)"', text))
        words = [str(shared.python), "-I", "-m", "comfy_supervisor.launch", "cpu", "--", "true"]
        nobody = pwd.getpwnam(NAME)
        with (
            socket.create_server(("127.0.0.1", shared.port)),
            subprocess.Popen(
                words, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], env=environ, cwd="/"
            ) as it,
        ):
            hold = Path(environ["COMFY_SUPERVISOR_RUN"]) / "hold.json"
            wait_until(hold.exists, what="a hold, since the port is taken")
            it.terminate()
        assert hold.is_relative_to(shared.folder / "var")

    def test_one_that_is_set_to_be_lost_is_warned_of(self, shared: Service) -> None:
        shared.file.write_text(shared.file.read_text() + 'paths.run = "/run/comfy-supervisor-test"\n')
        try:
            said = shared.run("render", "--fragment", "-o", "conf.d").stderr
        finally:
            shutil.rmtree("/run/comfy-supervisor-test", ignore_errors=True)
        assert f"is gone after a reboot, and {NAME} can't make it" in said


class TestHostileAccount:
    """What custom nodes put into folders of their account, root is not led by."""

    @pytest.fixture
    def several(self, base: str, nvml: Nvml) -> Iterator[Service]:
        """Give a service of root's with two GPUs, whose ComfyUI's run as nobody."""
        nvml.cards([Card(), Card()])
        service = Service(nvml.environ, base=base, apart=True)
        service.folder.chmod(0o711)
        service.settings(comfyui={"user": NAME}, gpu={"devices": "all"})
        yield service
        service.close()

    @pytest.fixture
    def roots(self, several: Service) -> Path:
        """Give a folder of root's that has others in it."""
        folder = several.folder / "roots"
        (folder / "user").mkdir(parents=True, mode=0o755)
        (folder / "gpu0").mkdir(mode=0o755)
        return folder

    def modes(self, roots: Path) -> set[tuple[int, int]]:
        """Return the owners and modes of a folder and those in it."""
        return {(path.stat().st_uid, path.stat().st_mode & 0o777) for path in (roots, *roots.iterdir())}

    def put(self, folder: Path, link: Path) -> None:
        """Have nobody put a link in the place of an empty folder."""
        done = as_nobody("sh", "-c", 'rmdir "$1" && ln -s "$2" "$1"', "sh", str(link), str(folder))
        assert done.returncode == 0, done

    def test_a_link_in_the_place_of_its_user_folder_gives_nothing_away(self, several: Service, roots: Path) -> None:
        several.ok("render")
        assert (several.state / "gpu0" / "user").stat().st_uid == pwd.getpwnam(NAME).pw_uid
        before = self.modes(roots)
        self.put(roots, several.state / "gpu0" / "user")
        several.run("render")
        assert self.modes(roots) == before

    def test_a_link_in_the_place_of_an_output_folder_neither(self, several: Service, roots: Path) -> None:
        output = several.folder / "output"
        output.mkdir()
        shutil.chown(output, NAME)
        several.settings(comfyui={"user": NAME}, gpu={"devices": "all"}, paths={"output": str(output)})
        several.ok("render")
        assert (output / "gpu1").stat().st_uid == pwd.getpwnam(NAME).pw_uid
        before = self.modes(roots)
        self.put(roots, output / "gpu0")
        assert f"sudo install -d -o {NAME} {output}/gpu0" in several.refused("render")
        assert self.modes(roots) == before

    def test_an_output_folder_that_root_alone_can_change_the_way_to_is_made_for_it(self, several: Service) -> None:
        (several.folder / "disk").mkdir()
        (several.folder / "link").symlink_to(several.folder / "disk")
        output = several.folder / "link" / "output"
        several.settings(comfyui={"user": NAME}, gpu={"devices": "all"}, paths={"output": str(output)})
        several.ok("render")
        uid = pwd.getpwnam(NAME).pw_uid
        assert [path.stat().st_uid for path in (output, output / "gpu0", output / "gpu1")] == [0, uid, uid]

    def test_a_link_of_roots_own_is_no_way_round(self, several: Service, roots: Path) -> None:
        """Root's link leads to a folder of nobody's, where nobody's link leads on."""
        theirs = several.folder / "theirs"
        theirs.mkdir()
        (theirs / "output").symlink_to(roots)
        shutil.chown(theirs, NAME)
        output = several.folder / "link"
        output.symlink_to(theirs / "output")
        several.settings(comfyui={"user": NAME}, gpu={"devices": "all"}, paths={"output": str(output)})
        before = self.modes(roots)
        several.refused("render")
        assert self.modes(roots) == before

    def test_a_state_folder_that_it_could_replace_is_refused(self, several: Service) -> None:
        theirs = several.folder / "theirs"
        theirs.mkdir()
        shutil.chown(theirs, NAME)
        several.settings(
            comfyui={"user": NAME}, gpu={"devices": "all"}, paths={"state": str(theirs / "a" / "b"), "run": "/tmp/x"}
        )
        said = several.refused("render")
        assert f'paths.state = "{theirs}/a/b": {theirs} belongs to comfyui.user, {NAME}' in said
        assert not list(theirs.iterdir())


class TestWhoExecutesComfyui:
    """Its files belong to whoever wrote them: root reads none of them by executing it."""

    NOTE = "import os\nprint(os.geteuid(), os.getegid(), os.getgroups(), os.environ['HOME'], file=open({!r}, 'a'))\n"

    def noted(self, file: Path) -> set[str]:
        """Return who has executed it."""
        return set(file.read_text().splitlines())

    def nobody(self) -> str:
        """Return how nobody is noted."""
        account = machine.account(NAME)
        return f"{account.uid} {account.gid} {os.getgrouplist(NAME, account.gid)} {account.home}"

    @pytest.fixture
    def notes(self, open_service: Service) -> Path:
        """Give a file that everybody can write to."""
        file = open_service.folder / "notes"
        file.touch()
        file.chmod(0o666)
        return file

    def test_its_options_are_read_as_the_account(self, open_service: Service, notes: Path) -> None:
        comfyui = make_comfyui(open_service.folder / "ComfyUI", self.NOTE.format(str(notes)) + CLI_ARGS)
        python = str(open_service.python)
        open_service.settings(comfyui={"directory": str(comfyui), "python": python, "user": NAME})
        open_service.ok("render", "--stdout")
        open_service.ok("gpus")
        assert self.noted(notes) == {self.nobody()}

    def test_its_torch_is_asked_as_the_account(self, open_service: Service, notes: Path, base: str) -> None:
        folder = open_service.folder / "site"
        folder.mkdir(mode=0o755)
        (folder / "torch.py").write_text(self.NOTE.format(str(notes)))
        found = Installation(Path("/"), Path(base), "")
        torch_facts(found, environment={"PYTHONPATH": str(folder)}, account=machine.account(NAME))
        assert self.noted(notes) == {self.nobody()}

    @pytest.mark.parametrize(
        "user",
        ['user = "nobdy"', 'user = "no body!"', "user = 7", 'usr = "nobody"', 'account = "nobody"', 'user = "nobody'],
    )
    def test_whoever_is_misspelt_is_not_taken_for_root_by_the_doctor(
        self, open_service: Service, notes: Path, user: str
    ) -> None:
        """Neither its options, nor its packages, nor its torch are asked for."""
        comfyui = make_comfyui(open_service.folder / "ComfyUI", self.NOTE.format(str(notes)) + CLI_ARGS)
        python = make_program(open_service.folder / "python", f'id -u >> {notes}\nexec {open_service.python} "$@"')
        environ = {"COMFYUI_DIR": str(comfyui), "COMFYUI_PYTHON": str(python)}
        open_service.file.write_text(f'paths.state = "{open_service.state}"\n[comfyui]\n{user}\n')
        done = open_service.run("doctor", **environ)
        assert done.returncode == 1
        assert self.noted(notes) == set()
        open_service.file.write_text(f'paths.state = "{open_service.state}"\n[comfyui]\nprot = 1\n')
        open_service.run("doctor", **environ)
        assert "0" in self.noted(notes)


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
        assert psutil.Process(open_service.pid()).username() == NAME
        assert self.run(open_service, "down").returncode == 0
