"""What is known of who runs us, whoever asks: a login, cron or ``sudo -u``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfy_supervisor import machine
from comfy_supervisor.model import Account


@pytest.fixture
def me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a user's name; logind's folders are the test's own."""
    monkeypatch.setattr(machine, "LINGER", tmp_path / "linger")
    monkeypatch.setattr(machine, "own_runtime", lambda: tmp_path / "user")
    (tmp_path / "linger").mkdir()
    (tmp_path / "user").mkdir()
    return machine.look({}).me.name


def test_who_lingers_has_the_same_runtime_folder_without_a_login(me: str, tmp_path: Path) -> None:
    """Else cron would render another run folder, and look for another supervisord, than systemd's unit."""
    assert machine.look({}).runtime_dir is None
    (tmp_path / "linger" / me).touch()
    assert machine.look({}).runtime_dir == tmp_path / "user"
    (tmp_path / "user").rmdir()
    assert machine.look({}).runtime_dir is None


def test_what_the_environment_says_goes_first(me: str, tmp_path: Path) -> None:
    (tmp_path / "linger" / me).touch()
    assert machine.look({"XDG_RUNTIME_DIR": str(tmp_path)}).runtime_dir == tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at another account's reach")
def test_what_fails_for_another_account_is_named_as_it_was_asked_whatever_is_in_its_name(tmp_path: Path) -> None:
    """Who chooses a name with a line's end in it would else have another folder named, /etc say."""
    nobody = Account("nobody", 65534, 65534, Path("/"))
    asked = [tmp_path / f"x{end}" / "etc" for end in ("\n", "\x0c", "\x85", "\u2028", "\udcff", " '\"$(id)")]
    assert machine.failing(nobody, '[ -w "$path" ]', [Path("/dev/null"), *asked]) == [str(path) for path in asked]
    assert machine.out_of_reach(nobody, [Path("/"), Path("/etc/passwd"), *asked]) == [str(path) for path in asked]
    assert machine.failing(nobody, "exit 1", asked) == [str(path) for path in asked]
    assert machine.failing(nobody, "true", []) == []
