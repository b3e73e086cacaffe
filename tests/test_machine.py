"""What is known of who runs us, whoever asks: a login, cron or ``sudo -u``."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_supervisor import machine


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
