"""``service``: what it would write, and what it refuses; tests/service boots it."""

from __future__ import annotations

import io
import os
import pwd
import shutil
import sys
from contextlib import redirect_stderr
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from comfy_supervisor import disk
from comfy_supervisor.cli import service_folders, service_site
from comfy_supervisor.cli.service import KEPT, _asides, _for_supervisorctl
from comfy_supervisor.cli.service_models import Models
from comfy_supervisor.cli.writing import link_for_supervisorctl
from comfy_supervisor.comfyui import model_paths
from comfy_supervisor.errors import UserError
from comfy_supervisor.model import Account, Installation
from comfy_supervisor.service import Site
from comfy_supervisor.settings import Loaded, Settings, load
from tests.cli.service import Service
from tests.comfyui_server import STANDIN_FOLDER
from tests.support import make_comfyui, make_program

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at another account's reach")


@pytest.fixture
def settled(service: Service) -> Service:
    service.settings(service={"memory_high": "24GiB", "writable": ["/srv/models"]})
    return service


def an_artist(home: str) -> pwd.struct_passwd:
    """Return what the machine would know of somebody with a home."""
    return pwd.struct_passwd(("artist", "x", 1000, 1000, "", home, "/bin/sh"))


def test_the_unit_is_printed_and_nothing_done(settled: Service) -> None:
    text = settled.ok("service", "install", "--print", "--account", "daemon")
    assert text.startswith("# Written by comfy-supervisor ")
    assert "\nUser=daemon\n" in text
    assert f"\nMemoryHigh={24 * 1024**3}\n" in text
    assert "-/srv/models" in text
    assert f"--configuration {settled.state}/supervisord.conf" in text
    assert not settled.state.exists()


def test_what_would_be_done_is_said(settled: Service) -> None:
    said = settled.ok("service", "install", "--dry-run", "--account", "daemon")
    assert "would write /etc/systemd/system/comfyui-headless.service" in said
    assert "would enable and start" in said


def test_a_users_own_lies_in_the_users_folder(settled: Service) -> None:
    said = settled.ok("service", "install", "--user", "--dry-run")
    assert f"{settled.folder}/home/.config/systemd/user/comfyui-headless.service" in said
    assert "User=" not in settled.ok("service", "install", "--user", "--print")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--account", "nobody-of-that-name"], "no account nobody-of-that-name; --create-user creates it"),
        (["--account", "root"], "never runs as root"),
    ],
)
def test_an_account_that_will_not_do_is_refused(words: list[str], said: str, settled: Service) -> None:
    assert said in settled.refused("service", "install", "--print", *words)


@as_root
def test_what_the_service_would_not_see_is_refused(settled: Service) -> None:
    said = settled.refused("service", "install", "--account", "daemon", "--no-start")
    assert "the service has a /tmp of its own" in said


@as_root
def test_an_account_is_not_created_for_what_is_refused(settled: Service) -> None:
    assert "of its own" in settled.refused("service", "install", "--account", "cs-nobody", "--create-user")
    settled.settings(comfyui={"directory": "nowhere"})
    assert "nowhere" in settled.refused("service", "install", "--account", "cs-nobody", "--create-user")
    with pytest.raises(KeyError):
        pwd.getpwnam("cs-nobody")


@as_root
def test_root_gets_no_user_service_in_which_comfyui_would_be_root(settled: Service) -> None:
    assert "would run ComfyUI as root" in settled.refused("service", "install", "--user")


def test_no_unit_that_was_kept_is_lost(tmp_path: Path) -> None:
    own = tmp_path / "comfyui-headless.service"
    assert _asides(own) == []
    own.write_text("# Written by comfy-supervisor 1.0\n")
    assert _asides(own) == []
    own.write_text("[Service]\nType=forking\n")
    kept = tmp_path / f"{own.name}{KEPT}"
    assert _asides(own) == [(own, kept)]
    kept.write_text("")
    assert _asides(own) == [(own, tmp_path / f"{own.name}{KEPT}.2")]


def test_drop_ins_are_kept_aside_with_the_unit_that_they_change_and_with_no_other(tmp_path: Path) -> None:
    own = tmp_path / "comfyui-headless.service"
    drop_ins = tmp_path / f"{own.name}.d"
    drop_ins.mkdir()
    own.write_text("# Written by comfy-supervisor 1.0\n")
    assert _asides(own) == []
    own.write_text("[Service]\nType=forking\n")
    assert _asides(own)[1] == (drop_ins, tmp_path / f"{own.name}.d{KEPT}")


class TestSupervisorctl:
    @pytest.fixture
    def site(self, up: Service, monkeypatch: pytest.MonkeyPatch) -> Site:
        """Give where the service that is up runs, and have its virtual environment be ours."""
        monkeypatch.setattr(sys, "prefix", str(up.folder / "venv"))
        run = up.state / "run"
        return Site("1.2", (str(up.python), "-I"), "", up.state, run)

    def test_a_bare_one_finds_the_service(self, site: Site, up: Service) -> None:
        (file,) = _for_supervisorctl(site)
        disk.write([file])
        assert not file.path.is_symlink()
        assert "RUNNING" in up.supervisorctl("status", "comfyui").stdout
        file.path.unlink()
        link_for_supervisorctl(up.conf)

    def test_somebody_elses_file_stays(self, site: Site, up: Service) -> None:
        own = up.folder / "venv" / "etc" / "supervisord.conf"
        own.unlink()
        own.write_text("[supervisorctl]\n")
        assert _for_supervisorctl(site) == []
        own.unlink()
        link_for_supervisorctl(up.conf)


@pytest.mark.parametrize(("python", "seen"), [("/home/artist/venv/bin/python", True), ("/opt/venv/bin/python", False)])
def test_home_folders_are_seen_where_something_is_read_there(
    python: str, seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If only a link of it lies there, too."""
    monkeypatch.setattr(service_site, "_read", lambda *_: [Path(python)])
    monkeypatch.setattr(Path, "resolve", lambda _: Path("/usr/bin/python3"))
    comfyui = Installation(Path("/srv/ComfyUI"), Path(python), "0.33.0")
    account = Account("daemon", 1, 1, Path("/usr/sbin"))
    runner = service_site.Runner(account, exists=True)
    assert service_site.choose(Loaded(Settings(), None), comfyui, runner).read_only_homes is seen


class TestFolders:
    """Confined, the service may write nowhere else."""

    @pytest.fixture
    def comfyui(self, tmp_path: Path) -> Path:
        """Give a ComfyUI's folder."""
        folder = tmp_path / "ComfyUI"
        (folder / "models").mkdir(parents=True)
        return folder

    @pytest.mark.parametrize(
        ("arguments", "folder"),
        [
            (["--output-directory", "/data/out"], "/data/out"),
            (["--output-directory=/data/out", "--fast"], "/data/out"),
            (["--temp-dir", "/data/tmp/../temp"], "/data/temp"),
            (["--user-directory", "../user"], "{}/user"),
            (["--base-directory", "/data/base"], "/data/base"),
            (["--database-url", "sqlite:////data/db/comfyui.db"], "/data/db"),
            (["--database-url", "sqlite:///db/comfyui.db"], "{}/ComfyUI/db"),
            (["--database-url", "sqlite:///:memory:"], "{}/ComfyUI"),
        ],
    )
    def test_what_comfyuis_own_options_name_is_written_to(
        self, arguments: list[str], folder: str, comfyui: Path
    ) -> None:
        settings = Settings.model_validate({"comfyui": {"extra_args": arguments}})
        found = service_folders.written(Loaded(settings, None), comfyui)
        assert Path(folder.format(comfyui.parent)) in found

    @pytest.mark.parametrize("name", ["output", "custom_nodes", "input", "temp", "user", "models/checkpoints"])
    def test_so_is_where_links_in_its_folder_lead(self, name: str, comfyui: Path, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (comfyui / name).symlink_to(tmp_path / "data")
        found = service_folders.written(Loaded(Settings(), None), comfyui)
        assert list(service_folders.outermost(found)) == [comfyui, tmp_path / "data"]

    @pytest.mark.parametrize("name", ["data\nExecStartPre=+touch owned", "x\u2028/etc", "x\x85/etc", "x\x0c/etc"])
    @pytest.mark.parametrize("outer", ["", "/etc"])
    def test_a_link_to_a_name_with_a_lines_end_is_refused(self, name: str, outer: str, settled: Service) -> None:
        """ComfyUI's folder is its account's, and so is the link: what follows would be a line of its own, for root."""
        comfyui = make_comfyui(settled.folder / "ComfyUI")
        evil = f"{outer or settled.folder}/{name}"
        (comfyui / "output").symlink_to(evil)
        settled.settings(comfyui={"directory": str(comfyui), "python": sys.executable})
        said = settled.refused("service", "install", "--print", "--account", "daemon")
        assert said == f"error: {evil!a}: has a character that no unit of systemd's can hold; rename it\n"

    def test_a_link_to_anothers_home_is_refused(
        self, comfyui: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Root would be told to give it to the account."""
        home = str(tmp_path / "artist")
        monkeypatch.setattr(pwd, "getpwall", lambda: [an_artist(home)])
        (comfyui / "output").symlink_to(home)
        daemon = service_site.runner("daemon", create=False).account
        with pytest.raises(UserError, match=f"{home}: is a home, not daemon's, and a link in ComfyUI's folder"):
            service_folders.written(Loaded(Settings(), None), comfyui, daemon)
        assert Path(home) in service_folders.written(
            Loaded(Settings(), None), comfyui, replace(daemon, home=Path(home))
        )

    @as_root
    def test_a_link_opens_no_home_that_the_account_can_not_read(
        self, comfyui: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret = tmp_path / "artist" / "secret"
        secret.mkdir(parents=True)
        (comfyui / "output").symlink_to(secret)
        monkeypatch.setattr(service_site, "_read", lambda *_: [])
        daemon = service_site.runner("daemon", create=False).account
        refused = partial(
            service_site.refuse_out_of_reach,
            Loaded(Settings(), None),
            Installation(comfyui, comfyui, ""),
            daemon,
            Models(),
        )
        for each in (*tmp_path.parents, tmp_path):
            if each.stat().st_mode & 0o077 == 0:
                each.chmod(0o711)
        refused()
        monkeypatch.setattr(service_folders, "HOMES", (tmp_path, Path("/root")))
        refused()
        secret.chmod(0o700)
        with pytest.raises(UserError, match=f"daemon has no way to {secret}: open it"):
            refused()

    def test_links_are_looked_for_in_the_base_directory(self, comfyui: Path, tmp_path: Path) -> None:
        (tmp_path / "base").mkdir()
        (tmp_path / "base" / "output").symlink_to(tmp_path / "data")
        settings = Settings.model_validate({"comfyui": {"extra_args": ["--base-directory", str(tmp_path / "base")]}})
        assert tmp_path / "data" in service_folders.written(Loaded(settings, None), comfyui)

    @pytest.mark.parametrize("folder", ["/", "/etc", "/usr/lib/comfyui", "/var", "/usr/local", "/root", "/home"])
    def test_what_is_the_systems_is_refused(self, folder: str, settled: Service) -> None:
        settled.settings(service={"writable": [folder]})
        said = settled.refused("service", "install", "--print", "--account", "daemon")
        assert f"{folder}: belongs to the system" in said

    def test_a_home_that_is_not_the_accounts_own_is_not_written_to(self, settled: Service) -> None:
        done = settled.run("service", "install", "--print", "--account", "daemon")
        assert "daemon has no home for the caches" in done.stderr
        assert pwd.getpwnam("daemon").pw_dir not in done.stdout

    @as_root
    def test_what_only_the_settings_name_is_made_for_the_account(self, settled: Service) -> None:
        settled.folder.chmod(0o711)
        folders = {name: str(settled.folder / "disk" / name) for name in ("state", "run", "logs", "output")}
        settled.settings(paths=folders, service={"writable": [str(settled.folder / "nowhere")]})
        daemon = service_site.runner("daemon", create=False)
        loaded = load(settled.file, {})
        site = service_site.choose(loaded, Installation(STANDIN_FOLDER, settled.python, ""), daemon)
        with redirect_stderr(io.StringIO()) as said:
            service_folders.make(loaded, site, daemon.account)
        assert {Path(folder).stat().st_uid for folder in folders.values()} == {daemon.account.uid}
        modes = {name: oct(Path(folder).stat().st_mode & 0o777) for name, folder in folders.items()}
        assert modes == {"state": "0o700", "run": "0o700", "logs": "0o755", "output": "0o755"}
        assert f"sudo install -d -o daemon {settled.folder}/nowhere" in said.getvalue()
        assert said.getvalue().count("\n") == 1


class TestModelsElsewhere:
    """What extra_model_paths.yaml names, of a ComfyUI whose account is daemon."""

    @pytest.fixture
    def folder(self, settled: Service, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Give a folder with models, which ComfyUI is told of: some may become daemon's."""
        folder = settled.folder / "models"
        for name in ("own", "others"):
            (folder / name).mkdir(parents=True)
        named = [folder / "own", folder / "others", Path("/nowhere"), Path("/etc"), Path("/root"), Path("/var/tmp")]
        monkeypatch.setattr(model_paths, "folders", lambda *_: named)
        monkeypatch.setattr(service_folders, "TMP", (Path("/var/tmp"),))  # the tests' folders are in the other
        monkeypatch.setattr(service_site, "_read", lambda *_: [])  # our interpreter may lie in a home
        return folder

    @as_root
    def test_the_accounts_own_are_written_to_and_others_named(self, folder: Path, settled: Service) -> None:
        os.chown(folder / "own", pwd.getpwnam("daemon").pw_uid, -1)
        done = settled.run("service", "install", "--print", "--account", "daemon")
        (places,) = [line for line in done.stdout.splitlines() if line.startswith("ReadWritePaths=")]
        assert f"-{folder}/own" in places
        assert "others" not in places
        assert f"models that ComfyUI only reads, being others': {folder}/others; " in done.stderr

    @pytest.mark.usefixtures("folder")
    def test_nothing_is_done_for_the_systems_for_homes_and_for_tmp_which_is_said(self, settled: Service) -> None:
        """Else a custom node, which may write that file, could have root open the homes, or give /etc away."""
        done = settled.run("service", "install", "--print", "--account", "daemon")
        left_out = [line for line in done.stderr.splitlines() if "nothing is done for it" in line]
        assert left_out == [
            "note: /etc: named as a folder of models, and nothing is done for it: it is the system's",
            "note: /root: named as a folder of models, and nothing is done for it: it is the system's",
            "note: /var/tmp: named as a folder of models, and nothing is done for it: "
            "the service has a /var/tmp of its own, without it",
        ]
        assert "ProtectHome=yes" in done.stdout

    @as_root
    def test_only_a_folder_in_a_home_that_the_account_can_read_opens_the_homes(
        self, folder: Path, settled: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        homes = folder.parent / "homes"
        for name in ("artist/models", "other/models"):
            (homes / name).mkdir(parents=True)
        monkeypatch.setattr(service_folders, "HOMES", (homes, Path("/root")))
        monkeypatch.setattr(pwd, "getpwall", lambda: [an_artist(str(homes / "artist"))])
        settled.folder.chmod(0o711)
        (homes / "other").chmod(0o700)
        named = [homes, homes / "artist", homes / "other" / "models"]
        monkeypatch.setattr(model_paths, "folders", lambda *_: named)
        done = settled.run("service", "install", "--print", "--account", "daemon")
        assert "ProtectHome=yes" in done.stdout
        assert f"{homes}: named as a folder of models, and nothing is done for it: it is a whole home" in done.stderr
        assert f"{homes}/artist: named as a folder of models, and nothing is done for it: it is a whole" in done.stderr
        assert f"{homes}/other/models: named as a folder of models, and nothing is done for it: daemon" in done.stderr
        named.append(homes / "artist" / "models")
        done = settled.run("service", "install", "--print", "--account", "daemon")
        assert "ProtectHome=read-only" in done.stdout
        assert f"sees /home and /root, otherwise hidden, because of {homes}/artist/models\n" in done.stderr

    @as_root
    def test_what_is_the_systems_is_not_written_to_whoever_owns_it(
        self, folder: Path, settled: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else a custom node, which may write that file, could keep the service from being installed."""
        os.chown(folder / "own", pwd.getpwnam("daemon").pw_uid, -1)
        monkeypatch.setattr(service_folders, "SYSTEMS", (*service_folders.SYSTEMS, folder / "own"))
        assert "models/own" not in settled.ok("service", "install", "--print", "--account", "daemon")

    @as_root
    def test_a_name_with_a_lines_end_writes_no_line_of_the_unit(
        self, settled: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """That file is a custom node's to write, and so is the folder; systemd believes the unit as root's."""
        evil = settled.folder / "models\nExecStartPre=+touch owned"
        evil.mkdir()
        shutil.chown(evil, "daemon")
        monkeypatch.setattr(model_paths, "folders", lambda *_: [evil])
        done = settled.run("service", "install", "--print", "--account", "daemon")
        assert (done.returncode, "owned" in done.stdout + done.stderr) == (0, False)

    def test_what_service_writable_names_is_no_more_said(self, folder: Path, settled: Service) -> None:
        settled.settings(service={"writable": [str(folder)]})
        done = settled.run("service", "install", "--print", "--account", "daemon")
        assert f"-{folder}" in done.stdout
        assert "being others'" not in done.stderr

    @as_root
    @pytest.mark.parametrize(("account", "uid"), [("daemon", "daemon"), ("cs-nobody", "nobody")])
    def test_they_are_never_read_as_root(self, account: str, uid: str, settled: Service) -> None:
        """Also before there is an account: ComfyUI's interpreter is not root's."""
        seen = settled.folder / "seen"
        seen.touch()
        seen.chmod(0o666)
        settled.folder.chmod(0o755)
        comfyui = make_comfyui(settled.folder / "ComfyUI")
        (comfyui / model_paths.OWN).touch()
        python = make_program(settled.folder / "python", f"id -u >>{seen}")
        settled.settings(comfyui={"directory": str(comfyui), "python": str(python)})
        settled.ok("service", "install", "--print", "--account", account, "--create-user")
        assert seen.read_text().split() == [str(pwd.getpwnam(uid).pw_uid)]

    def test_in_a_home_they_are_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        runner = service_site.Runner(Account("daemon", 1, 1, Path("/usr/sbin")), exists=True)
        comfyui = Installation(Path("/srv/ComfyUI"), Path("/opt/python"), "0.33.0")
        monkeypatch.setattr(service_site, "_read", lambda *_: [])
        models = Models(others=(Path("/home/artist/models"),))
        loaded = Loaded(Settings(), None)
        assert service_site.choose(loaded, comfyui, runner, models).read_only_homes
        assert not service_site.choose(loaded, comfyui, runner).read_only_homes

    def test_a_file_of_them_opens_no_home_by_a_name_that_can_not_be_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """That file may be a link of a custom node's: where it leads is shown to root."""
        runner = service_site.Runner(Account("daemon", 1, 1, Path("/usr/sbin")), exists=True)
        comfyui = Installation(Path("/srv/ComfyUI"), Path("/opt/python"), "0.33.0")
        monkeypatch.setattr(service_site, "_read", lambda *_: [])
        (tmp_path / model_paths.OWN).symlink_to("/home/artist/x\u2028sudo rm")
        models = Models(files=(tmp_path / model_paths.OWN,))
        with pytest.raises(UserError, match="has a character that no unit"):
            service_site.choose(Loaded(Settings(), None), comfyui, runner, models)


def test_there_may_be_nothing_to_uninstall(settled: Service) -> None:
    assert "not there; nothing to uninstall" in settled.refused("service", "uninstall", "--user")


def test_the_programs_go_into_another_supervisords_folder(settled: Service) -> None:
    folder = settled.folder / "conf.d"
    said = settled.ok("service", "install", "--into", str(folder))
    text = (folder / "comfyui.conf").read_text()
    assert "supervisorctl update" in said
    assert "[program:comfyui]" in text
    assert "[supervisord]" not in text


@as_root
def test_what_a_former_services_account_owns_is_not_given_to_another_supervisord(settled: Service) -> None:
    """As that account the file could not be written; as root, what it has left there would be believed."""
    settled.folder.chmod(0o755)
    folder = settled.folder / "conf.d"
    settled.state.mkdir()
    shutil.chown(settled.state, "daemon")
    said = settled.refused("service", "install", "--into", str(folder))
    assert f"{settled.state}: is another account's, which can't write into {settled.folder}; " in said
    assert f"then: sudo chown -R root {settled.state}\n" in said
    assert not folder.exists()
    shutil.chown(settled.state, "root")
    settled.ok("service", "install", "--into", str(folder))


def test_the_settings_that_were_named_are_what_goes_there(settled: Service) -> None:
    other = settled.folder / "other.toml"
    settled.file.rename(other)
    folder = settled.folder / "conf.d"
    settled.ok("service", "install", "-c", str(other), "--into", str(folder))
    assert f"from {other}" in (folder / "comfyui.conf").read_text()


def test_preparing_renders_and_starts_nothing(settled: Service) -> None:
    settled.ok("service", "prepare")
    assert (settled.state / "supervisord.conf").exists()
    assert (settled.state / "supervisord.applied.conf").exists()
    assert settled.processes() == []
