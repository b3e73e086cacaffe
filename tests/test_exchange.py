"""What is stopped only to be started again is started again, whoever is killed; what stays stopped stays so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from comfy_supervisor import exchange
from comfy_supervisor.exchange import Promise
from comfy_supervisor.launch import holds
from tests.supervisord import Supervisord
from tests.support import wait_until

PROGRAM = "[program:{name}]\ncommand = {command}\nstartsecs = 0\nautorestart = true\n"
NO_LAUNCHER = 0.0
"""How long to wait for the launcher of a program that has none."""


class BrokenOffError(Exception):
    """An end in the middle."""


def program(name: str, command: str = "sleep 1000") -> str:
    return PROGRAM.format(name=name, command=command)


def group(*names: str) -> str:
    return "".join(map(program, names)) + f"[group:comfyui]\nprograms = {','.join(names)}\n"


def leave(state: Path, promise: Promise) -> None:
    """Leave a promise behind, as one does who is killed."""
    with pytest.raises(BrokenOffError), exchange.promised(state, promise):
        raise BrokenOffError


def left(state: Path) -> list[Path]:
    return list(state.glob("again-*.json"))


def states(supervisord: Supervisord) -> Mapping[str, str]:
    processes = supervisord.rpc.processes()
    assert isinstance(processes, tuple), processes
    return {process.program: process.statename for process in processes}


def finish(supervisord: Supervisord, state: Path) -> list[str]:
    said: list[str] = []
    exchange.finish(state, supervisord.rpc, said.append)
    return said


def finish_all(supervisord: Supervisord, state: Path) -> None:
    """Finish what is left, as often as it takes: on a busy machine supervisord may answer late."""

    def over() -> bool:
        finish(supervisord, state)
        return not left(state)

    wait_until(over)


class TestPromises:
    """Files that end with what they promise."""

    def test_one_is_there_for_as_long_as_it_is_at_work(self, tmp_path: Path) -> None:
        with exchange.promised(tmp_path, Promise()):
            assert len(left(tmp_path)) == 1
        assert list(tmp_path.iterdir()) == []

    def test_without_a_disk_it_is_carried_out_all_the_same(self, tmp_path: Path) -> None:
        done = False
        with exchange.promised(tmp_path / "nowhere", Promise()):
            done = True
        assert done

    def test_whoever_lives_is_left_alone_and_who_was_killed_is_not(
        self, tmp_path: Path, supervisord: Supervisord
    ) -> None:
        supervisord.start(program("comfyui"))
        start = supervisord.info().start
        code = (
            "import sys, time; from pathlib import Path; from comfy_supervisor import exchange\n"
            f"with exchange.promised(Path({str(tmp_path)!r}), exchange.Promise({{'comfyui': {start}}})):\n"
            "    time.sleep(1000)"
        )
        with subprocess.Popen([sys.executable, "-c", code]) as author:
            wait_until(lambda: left(tmp_path))
            supervisord.rpc.stop("comfyui")
            assert finish(supervisord, tmp_path) == []
            assert states(supervisord) == {"comfyui": "STOPPED"}
            author.kill()
            author.wait()
        finish_all(supervisord, tmp_path)
        assert states(supervisord) == {"comfyui": "RUNNING"}

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"starts": 3, "groups": [], "stay": {}}', "\x00"])
    def test_one_that_makes_no_sense_is_forgotten(self, tmp_path: Path, supervisord: Supervisord, text: str) -> None:
        (tmp_path / "again-1.json").write_text(text)
        assert finish(supervisord, tmp_path) == []
        assert left(tmp_path) == []

    def test_one_is_kept_until_supervisord_answers(self, tmp_path: Path, supervisord: Supervisord) -> None:
        leave(tmp_path, Promise({"comfyui": 1}))
        assert finish(supervisord, tmp_path) == []
        assert len(left(tmp_path)) == 1


class TestFinishing:
    """What is found half done."""

    def test_what_was_not_stopped_yet_goes_on(self, tmp_path: Path, supervisord: Supervisord) -> None:
        supervisord.start(program("comfyui"))
        before = supervisord.info()
        leave(tmp_path, Promise({"comfyui": before.start}, ("comfyui",)))
        assert finish(supervisord, tmp_path) == []
        assert (supervisord.info().pid, left(tmp_path)) == (before.pid, [])

    def test_what_is_still_stopping_is_started_once_it_has_ended(
        self, tmp_path: Path, supervisord: Supervisord
    ) -> None:
        supervisord.start(program("comfyui") + "stopwaitsecs = 1\n")
        before = supervisord.info()
        leave(tmp_path, Promise({"comfyui": before.start}))
        os.kill(before.pid, signal.SIGSTOP)
        supervisord.rpc.stop("comfyui", wait=False)
        finish_all(supervisord, tmp_path)
        assert supervisord.pid() != before.pid

    def test_whoever_started_and_stopped_it_since_has_the_last_word(
        self, tmp_path: Path, supervisord: Supervisord
    ) -> None:
        supervisord.start(program("comfyui"))
        start = supervisord.info().start
        leave(tmp_path, Promise({"comfyui": start}))
        supervisord.rpc.stop("comfyui")
        wait_until(lambda: supervisord.info().now > start, what="supervisord's clock counts seconds")
        supervisord.rpc.start("comfyui")
        supervisord.rpc.stop("comfyui")
        assert finish(supervisord, tmp_path) == []
        assert (states(supervisord), left(tmp_path)) == ({"comfyui": "STOPPED"}, [])

    def test_another_supervisord_owes_nothing(self, tmp_path: Path, supervisord: Supervisord) -> None:
        supervisord.start(program("comfyui") + "autostart = false\n")
        leave(tmp_path, Promise({"comfyui": 1}, ("gone",)))
        finish(supervisord, tmp_path)
        assert (states(supervisord), left(tmp_path)) == ({"comfyui": "STOPPED"}, [])

    def test_a_group_that_was_taken_out_is_taken_in_and_who_was_stopped_stays_so(
        self, tmp_path: Path, supervisord: Supervisord, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exchange, "_LAUNCHER", NO_LAUNCHER)
        supervisord.start(group("gpu0", "gpu1") + program("other"))
        supervisord.rpc.stop_group("comfyui")
        supervisord.rpc.remove_group("comfyui")
        leave(tmp_path, Promise({"comfyui:gpu0": 1}, ("comfyui",), {"comfyui:gpu1": str(tmp_path)}))
        assert states(supervisord).keys() == {"other"}
        finish(supervisord, tmp_path)
        assert states(supervisord) == {"comfyui:gpu0": "RUNNING", "comfyui:gpu1": "STOPPED", "other": "RUNNING"}
        assert list(tmp_path.glob("*.json")) == []

    @pytest.mark.parametrize("by", [exchange.BY, "listener"])
    def test_who_was_to_stay_stopped_and_waits_at_our_hold_is_stopped(
        self, tmp_path: Path, supervisord: Supervisord, monkeypatch: pytest.MonkeyPatch, by: str
    ) -> None:
        """And one that somebody has started since, which another holds back, is not."""
        monkeypatch.setattr(exchange, "_LAUNCHER", NO_LAUNCHER)
        supervisord.start(program("comfyui"))
        holds.write(str(tmp_path), holds.Hold(holds.MAINTENANCE, "stays so", 1.0, by=by))
        leave(tmp_path, Promise(stay={"comfyui": str(tmp_path)}))
        finish(supervisord, tmp_path)
        assert states(supervisord) == {"comfyui": "STOPPED" if by == exchange.BY else "RUNNING"}
        assert (holds.read(str(tmp_path)) is None) == (by == exchange.BY)
