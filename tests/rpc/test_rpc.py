"""The XML-RPC client against a real supervisord, and against servers that misbehave."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_supervisor.errors import UserError
from comfy_supervisor.rpc import Changes, Failure, Fault, Supervisor, Unreachable
from tests.supervisord import Supervisord
from tests.support import free_port, wait_until

SLEEPER = "[program:{name}]\ncommand = sleep 1000\nstartsecs = 0\nautostart = {autostart}\n"
SLOW_TO_STOP = (
    "[program:slow]\ncommand = sh -c \"trap 'sleep 1; exit 0' INT; echo ready; while :; do sleep 0.1; done\"\n"
    "startsecs = 0\nstopsignal = INT\nstdout_logfile = {folder}/slow.log\n"
)


def sleeper(name: str = "one", autostart: bool = True) -> str:
    return SLEEPER.format(name=name, autostart=str(autostart).lower())


def start_slow(supervisord: Supervisord) -> None:
    """Start a program that needs a second to stop, and wait until it has seen to that."""
    supervisord.start(SLOW_TO_STOP.format(folder=supervisord.folder))
    log = supervisord.folder / "slow.log"
    wait_until(lambda: log.exists() and log.read_text())


def state(supervisord: Supervisord, program: str) -> str:
    return supervisord.info(program).statename


class TestQuestions:
    def test_supervisord_tells_of_itself(self, supervisord: Supervisord) -> None:
        supervisord.start()
        assert supervisord.process
        assert supervisord.rpc.pid() == supervisord.process.pid
        assert supervisord.rpc.state() == "RUNNING"
        version = supervisord.rpc.version()
        assert isinstance(version, str)
        assert version.startswith("4.")

    def test_processes_are_told_with_their_groups(self, supervisord: Supervisord) -> None:
        supervisord.start(sleeper("alone") + sleeper("gpu0") + "[group:comfyui]\nprograms = gpu0\n")
        processes = supervisord.rpc.processes()
        assert not isinstance(processes, Failure)
        assert [process.program for process in processes] == ["alone", "comfyui:gpu0"]
        gpu0 = supervisord.info("comfyui:gpu0")
        assert (gpu0.group, gpu0.name, gpu0.statename, gpu0.spawnerr) == ("comfyui", "gpu0", "RUNNING", "")
        assert gpu0.pid > 0
        assert 0 < gpu0.start <= gpu0.now

    def test_an_end_is_no_refusal_to_start(self, supervisord: Supervisord) -> None:
        ends = "command = /bin/sh -c 'sleep 0.2; exit 3'\nstartsecs = 0\nautorestart = false\n"
        supervisord.start(f"[program:ends]\n{ends}[program:refused]\ncommand = /bin/sh\ndirectory = /nowhere\n")
        wait_until(lambda: supervisord.info("ends").statename == "EXITED")
        wait_until(lambda: bool(supervisord.info("refused").refusal))
        assert (supervisord.info("ends").spawnerr, supervisord.info("ends").refusal) == ("Bad exit code 3", "")

    def test_an_unknown_program_is_a_fault(self, supervisord: Supervisord) -> None:
        supervisord.start()
        for call in (supervisord.rpc.process, supervisord.rpc.start, supervisord.rpc.stop):
            assert call("nobody") == Fault(10, "BAD_NAME", "BAD_NAME: nobody")

    def test_a_password_is_sent(self, supervisord: Supervisord) -> None:
        port = free_port()
        supervisord.start(f"[inet_http_server]\nport = 127.0.0.1:{port}\nusername = me\npassword = x:ü\n")
        url = f"http://127.0.0.1:{port}"
        assert Supervisor(url, username="me", password="x:ü").state() == "RUNNING"
        answer = Supervisor(url).state()
        assert isinstance(answer, Unreachable)
        assert "401" in answer.text


class TestStartAndStop:
    def test_starting_twice_and_stopping_twice_is_fine(self, supervisord: Supervisord) -> None:
        supervisord.start(sleeper("one", autostart=False))
        rpc = supervisord.rpc
        assert [rpc.start("one"), rpc.start("one", wait=True)] == [True, False]
        assert state(supervisord, "one") == "RUNNING"
        assert [rpc.stop("one"), rpc.stop("one")] == [True, False]
        assert state(supervisord, "one") == "STOPPED"

    def test_a_start_waits_for_the_end_of_a_stop(self, supervisord: Supervisord) -> None:
        """supervisord would answer "done" and start nothing."""
        start_slow(supervisord)
        pid = supervisord.pid("slow")
        assert supervisord.rpc.stop("slow", wait=False) is True
        assert state(supervisord, "slow") == "STOPPING"
        assert supervisord.rpc.start("slow") is True
        assert state(supervisord, "slow") == "RUNNING"
        assert supervisord.info("slow").pid != pid

    def test_a_second_stop_waits_for_the_end_too(self, supervisord: Supervisord) -> None:
        start_slow(supervisord)
        supervisord.rpc.stop("slow", wait=False)
        assert supervisord.rpc.stop("slow") is False
        assert state(supervisord, "slow") == "STOPPED"

    def test_patience_ends(self, supervisord: Supervisord) -> None:
        start_slow(supervisord)
        answer = supervisord.rpc.stop("slow", patience=0.2)
        assert isinstance(answer, Fault)
        assert (answer.name, answer.text) == ("STILL_RUNNING", "slow is still STOPPING")

    def test_a_program_that_dies_while_the_stop_is_on_its_way_is_stopped_for_good(
        self, supervisord: Supervisord, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """supervisord refuses to stop it, and starts it again a moment later."""
        supervisord.start(sleeper("loop") + "autorestart = true\n")
        pid = supervisord.pid("loop")
        rpc = Supervisor(supervisord.url)
        connect = rpc._transport._connect

        def connect_and_die() -> socket.socket:
            monkeypatch.undo()
            connection = connect()
            supervisord.rpc.state()  # by now supervisord has taken the connection before, too
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: "exited: loop" in supervisord.log_text())
            return connection

        monkeypatch.setattr(rpc._transport, "_connect", connect_and_die)
        assert rpc.stop("loop") is True
        assert state(supervisord, "loop") == "STOPPED"

    def test_what_ended_for_good_counts_as_stopped(self, supervisord: Supervisord) -> None:
        supervisord.start("[program:once]\ncommand = true\nstartsecs = 0\nautorestart = false\n")
        wait_until(lambda: state(supervisord, "once") == "EXITED")
        assert supervisord.rpc.stop("once") is False

    def test_a_program_that_is_not_there_cannot_be_started(self, supervisord: Supervisord) -> None:
        supervisord.start("[program:none]\ncommand = /no/such/program\nautostart = false\n")
        answer = supervisord.rpc.start("none")
        assert isinstance(answer, Fault)
        assert answer.name == "NO_FILE"


class TestGroups:
    def test_groups_are_added_changed_and_removed(self, supervisord: Supervisord) -> None:
        rpc = supervisord.rpc
        supervisord.start(sleeper("old") + sleeper("kept"))
        supervisord.configure(sleeper("new") + sleeper("kept", autostart=False))
        assert rpc.reload_config() == Changes(added=("new",), changed=("kept",), removed=("old",))
        assert [rpc.add_group("new"), rpc.add_group("new")] == [True, False]
        answer = rpc.remove_group("old")
        assert isinstance(answer, Fault)
        assert answer.name == "STILL_RUNNING"
        assert [rpc.stop_group("old"), rpc.stop_group("old")] == [True, False]
        assert [rpc.remove_group("old"), rpc.remove_group("old")] == [True, False]

    def test_a_group_is_stopped_at_once_not_one_by_one(self, supervisord: Supervisord) -> None:
        programs = "".join(sleeper(f"gpu{number}") for number in range(3))
        supervisord.start(programs + "[group:comfyui]\nprograms = gpu0,gpu1,gpu2\n" + sleeper("bystander"))
        assert supervisord.rpc.stop_group("comfyui") is True
        assert {state(supervisord, f"comfyui:gpu{number}") for number in range(3)} == {"STOPPED"}
        assert state(supervisord, "bystander") == "RUNNING"

    def test_a_broken_configuration_is_a_fault_and_changes_nothing(self, supervisord: Supervisord) -> None:
        supervisord.start(sleeper("one"))
        supervisord.configure("[program:one]\n")
        answer = supervisord.rpc.reload_config()
        assert isinstance(answer, Fault)
        assert answer.name == "CANT_REREAD"
        assert state(supervisord, "one") == "RUNNING"

    def test_shutdown_ends_supervisord(self, supervisord: Supervisord) -> None:
        start_slow(supervisord)
        assert [supervisord.rpc.shutdown(), supervisord.rpc.shutdown()] == [True, False]
        assert supervisord.process
        supervisord.process.wait(30)
        assert isinstance(supervisord.rpc.shutdown(), Unreachable)


class TestSilence:
    def test_nobody_there(self, tmp_path: Path) -> None:
        answer = Supervisor(f"unix://{tmp_path}/none.sock").state()
        assert answer == Unreachable(
            f"supervisord at unix://{tmp_path}/none.sock does not answer: No such file or directory"
        )
        assert isinstance(Supervisor(f"http://127.0.0.1:{free_port()}").state(), Unreachable)
        assert isinstance(Supervisor("unix://" + "x" * 200).state(), Unreachable)

    def test_a_stopped_supervisord_is_not_waited_for(self, supervisord: Supervisord) -> None:
        supervisord.start(sleeper())
        assert supervisord.process
        os.kill(supervisord.process.pid, signal.SIGSTOP)
        began = time.monotonic()
        rpc = Supervisor(supervisord.url, timeout=0.3)
        for call in (rpc.state, rpc.processes, rpc.shutdown, lambda: rpc.start("one"), lambda: rpc.stop_group("one")):
            answer = call()
            assert isinstance(answer, Unreachable)
            assert answer.text.endswith("does not answer: timed out")
        assert time.monotonic() - began < 10
        os.kill(supervisord.process.pid, signal.SIGCONT)

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (b"", "the connection was closed"),
            (b"SSH-2.0-OpenSSH\r\n", "SSH-2.0"),
            (b"HTTP/1.0 500 Internal Server Error\r\n\r\n", "500 Internal Server Error"),
            (b"HTTP/1.0 200 OK\r\n\r\n", "does not speak as supervisord does"),
            (b"HTTP/1.0 200 OK\r\n\r\n<html>welcome</html>", "does not speak as supervisord does"),
            (
                b"HTTP/1.0 200 OK\r\n\r\n<methodResponse><params><param><value><int>1</int></value></param>"
                b"</params></methodResponse>",
                "does not speak as supervisord does",
            ),
        ],
    )
    def test_somebody_else_there(self, answer: bytes, text: str, tmp_path: Path) -> None:
        with serving(tmp_path / "s", lambda connection: connection.sendall(answer)) as url:
            found = Supervisor(url).state()
        assert isinstance(found, Unreachable)
        assert text in found.text

    def test_an_endless_answer_is_cut_off(self, tmp_path: Path) -> None:
        with serving(tmp_path / "s", lambda connection: connection.sendall(b"x" * 100_000_000)) as url:
            found = Supervisor(url, timeout=20).state()
        assert isinstance(found, Unreachable)
        assert "an answer of more than" in found.text

    def test_a_trickling_answer_ends_at_the_deadline(self, tmp_path: Path) -> None:
        def trickle(connection: socket.socket) -> None:
            while True:
                connection.sendall(b"x")
                time.sleep(0.02)

        began = time.monotonic()
        with serving(tmp_path / "s", trickle) as url:
            found = Supervisor(url, timeout=0.4).state()
        assert isinstance(found, Unreachable)
        assert 0.4 <= time.monotonic() - began < 10


class serving:  # noqa: N801  used as a function
    """A server on a unix socket that does one thing with each connection."""

    def __init__(self, path: Path, behave: Callable[[socket.socket], None]) -> None:
        self.url = f"unix://{path}"
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()
        threading.Thread(target=self._serve, args=[behave], daemon=True).start()

    def _serve(self, behave: Callable[[socket.socket], None]) -> None:
        try:
            connection, _ = self.server.accept()
            with connection:
                connection.recv(65536)
                behave(connection)
        except OSError:
            return

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *_: object) -> None:
        self.server.close()


@pytest.mark.parametrize(
    "url", ["", "supervisor.sock", "http://", "http://x", "http://x:y", "https://x:1", "http://[x:1"]
)
def test_an_address_that_is_none_is_the_users_mistake(url: str) -> None:
    with pytest.raises(UserError, match="expected unix:///PATH or http://HOST:PORT"):
        Supervisor(url)
