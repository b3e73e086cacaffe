"""``service``: what it would write, and what it refuses; tests/service boots it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from comfy_supervisor.cli import service_site
from comfy_supervisor.cli.service import KEPT, _aside
from comfy_supervisor.model import Account, Installation
from comfy_supervisor.settings import Loaded, Settings
from tests.cli.service import Service

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at another account's reach")


@pytest.fixture
def settled(service: Service) -> Service:
    service.settings(service={"memory_high": "24GiB", "writable": ["/srv/models"]})
    return service


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


def test_no_unit_that_was_kept_is_lost(tmp_path: Path) -> None:
    own = tmp_path / "comfyui-headless.service"
    assert _aside(own) is None
    own.write_text("# Written by comfy-supervisor 1.0\n")
    assert _aside(own) is None
    own.write_text("[Service]\nType=forking\n")
    kept = tmp_path / f"{own.name}{KEPT}"
    assert _aside(own) == kept
    kept.write_text("")
    assert _aside(own) == tmp_path / f"{own.name}{KEPT}.2"


@pytest.mark.parametrize(("python", "seen"), [("/home/artist/venv/bin/python", True), ("/opt/venv/bin/python", False)])
def test_home_folders_are_seen_where_something_is_read_there(
    python: str, seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If only a link of it lies there, too."""
    monkeypatch.setattr(service_site, "_read", lambda *_: [Path(python)])
    monkeypatch.setattr(Path, "resolve", lambda _: Path("/usr/bin/python3"))
    comfyui = Installation(Path("/srv/ComfyUI"), Path(python), "0.33.0")
    account = Account("daemon", 1, 1, Path("/usr/sbin"))
    assert service_site.choose(Loaded(Settings(), None), comfyui, account).read_only_homes is seen


def test_there_may_be_nothing_to_uninstall(settled: Service) -> None:
    assert "not there; nothing to uninstall" in settled.refused("service", "uninstall", "--user")


def test_the_programs_go_into_another_supervisords_folder(settled: Service) -> None:
    folder = settled.folder / "conf.d"
    said = settled.ok("service", "install", "--into", str(folder))
    text = (folder / "comfyui.conf").read_text()
    assert "supervisorctl update" in said
    assert "[program:comfyui]" in text
    assert "[supervisord]" not in text


def test_preparing_renders_and_starts_nothing(settled: Service) -> None:
    settled.ok("service", "prepare")
    assert (settled.state / "supervisord.conf").exists()
    assert (settled.state / "supervisord.applied.conf").exists()
    assert settled.processes() == []
