"""The launcher under a real supervisord: every wait, every way out of it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from comfy_supervisor.launch import holds, starts
from comfy_supervisor.launch.holds import Hold
from tests.launch.conftest import SERVE, Instance
from tests.supervisord import Supervisord
from tests.support import is_running, make_program, wait_until

LONG_BACKOFF = "100:100:600"
"""Whoever backs off with this once too often never comes up within a test."""


def stop(instance: Instance) -> None:
    assert instance.supervisord.rpc.stop("comfyui") is True
    assert instance.supervisord.info().statename == "STOPPED"


def start(instance: Instance) -> None:
    assert instance.supervisord.rpc.start("comfyui") is True


class TestPlainStart:
    def test_comfyui_has_the_pid_that_supervisord_knows(self, instance: Instance) -> None:
        instance.start()
        assert instance.wait_for_life(1) == instance.supervisord.info().pid
        assert instance.log_text() == ""

    def test_environment_survives_and_no_signal_is_left_ignored_or_blocked(self, instance: Instance) -> None:
        """But for the variables of our settings, which may be secret."""
        instance.start(EXTRA="x y", COMFY_SUPERVISOR__NOTIFY__WEBHOOK="secret")
        pid = instance.wait_for_life(1)
        environment = psutil.Process(pid).environ()
        assert environment["COMFY_SUPERVISOR_STATE"] == str(instance.state)
        assert environment["EXTRA"] == "x y"
        assert not [name for name in environment if name.startswith("COMFY_SUPERVISOR__")]
        with Path(f"/proc/{pid}/status").open() as status:
            masks = {line[:7]: int(line[7:], 16) for line in status if line[:7] in {"SigBlk:", "SigIgn:"}}
        assert masks["SigBlk:"] == 0
        assert masks["SigIgn:"] & 0x7FFFFFFF == 0  # 32 and 33 are the C library's own: GNU make leaves them ignored

    def test_folders_are_made_for_their_owner_alone(self, instance: Instance) -> None:
        instance.start()
        instance.wait_for_life(1)
        assert [folder.stat().st_mode & 0o777 for folder in (instance.state, instance.run)] == [0o700, 0o700]

    def test_folders_that_cannot_be_made_keep_nothing_down(self, instance: Instance) -> None:
        instance.state.parent.parent.joinpath("state").write_text("in the way")
        instance.run.parent.write_text("in the way")
        instance.start()
        instance.wait_for_life(1)
        assert f"the folder {instance.state} can't be made" in instance.log_text()
        assert f"{instance.state}/starts.json can't be written" in instance.log_text()

    @pytest.mark.parametrize("arguments", [[], ["cpu"], ["cpu", "--"], ["cpu", "ls"], ["gpu0", "--", "ls"]])
    def test_bad_arguments_are_told_the_usage(self, arguments: list[str], instance: Instance) -> None:
        names = ("COMFY_SUPERVISOR_INSTANCE", "COMFY_SUPERVISOR_STATE", "COMFY_SUPERVISOR_RUN")
        environment = dict(zip(names, ("cpu", str(instance.state), str(instance.run)), strict=True))
        command = [sys.executable, "-I", "-m", "comfy_supervisor.launch", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("usage: ")


STOPPED_WHILE_IMPORTING = """
import os, runpy, sys, weakref

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "comfy_supervisor.launch.holds":
            gone = set()
            callback = weakref.ref(gone, lambda _: os.kill(os.getpid(), {number}))
            del gone

sys.meta_path.insert(0, Finder())
sys.argv[1:] = ["cpu", "--", "/bin/true"]
runpy.run_module("comfy_supervisor.launch", run_name="__main__")
"""
"""Sends a launcher a signal where an exception is lost: the import system has such places, too."""


@contextmanager
def leftover(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process of the instance that the environment names, as a killed supervisord leaves one."""
    with subprocess.Popen(["sleep", "1000"], env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_stop_while_the_launcher_imports_is_not_lost(self, number: signal.Signals, tmp_path: Path) -> None:
        names = {"INSTANCE": "cpu", "STATE": str(tmp_path / "state"), "RUN": str(tmp_path / "run")}
        environment = {f"COMFY_SUPERVISOR_{name}": value for name, value in names.items()}
        code = STOPPED_WHILE_IMPORTING.format(number=int(number))
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (-number, "")
        with leftover(environment) as left:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert left.wait(20) == -signal.SIGTERM  # nobody else would end it
        assert done.returncode == -number

    def test_a_stop_that_comes_before_the_launcher_can_hear_it_is_not_lost(self, instance: Instance) -> None:
        """As between supervisord's fork and exec, where its own handlers take the signal."""
        folder = instance.command.parent
        launcher = next(line for line in instance.section().splitlines() if line.startswith("command = "))
        deaf = f"trap '' INT\ntouch {folder}/deaf\nwhile [ ! -e {folder}/go ]; do sleep 0.02; done\n"
        program = make_program(folder / "deaf.sh", f"{deaf}exec {launcher.partition(' = ')[2]}")
        instance.supervisord.start(instance.section().replace(launcher, f"command = {program}"))
        wait_until((folder / "deaf").exists)
        stopping = threading.Thread(target=stop, args=[instance])
        stopping.start()
        wait_until(lambda: instance.supervisord.info().statename == "STOPPING")
        with leftover({"COMFY_SUPERVISOR_INSTANCE": "cpu", "COMFY_SUPERVISOR_STATE": str(instance.state)}) as left:
            instance.run.mkdir(parents=True, exist_ok=True)
            holds.write(str(instance.run), holds.Hold(holds.CONFIGURATION, "of before", time.time()))
            (folder / "go").touch()
            stopping.join()
            assert left.wait(20) == -signal.SIGTERM
        assert holds.read(str(instance.run)) is None  # the next start is a fresh one
        assert "stopped: comfyui (exit status 0)" in instance.supervisord.log_text()
        assert not instance.lives

    def test_a_stop_that_follows_a_start_at_once_is_heard(self, instance: Instance) -> None:
        """At many moments, most of them before the launcher has begun."""
        instance.supervisord.start(instance.section() + "autostart = false\n")
        for moment in range(20):
            start(instance)
            time.sleep(max(0, moment - 8) * 0.004)
            stop(instance)
        assert "SIGKILL" not in instance.supervisord.log_text()


class TestHolds:
    def test_a_hold_keeps_comfyui_from_starting_until_it_is_lifted(self, instance: Instance) -> None:
        instance.hold(Hold("maintenance", "new fans", time.time()))
        instance.start()
        instance.wait_for_log("waiting (maintenance): new fans; to start it now: comfy-supervisor start comfyui")
        assert instance.supervisord.info().statename == "RUNNING"
        assert not instance.lives
        holds.clear(str(instance.run))
        assert instance.wait_for_life(1) == instance.supervisord.info().pid
        assert len(instance.log_text().splitlines()) == 2

    def test_a_hold_ends_by_itself_at_its_time(self, instance: Instance) -> None:
        instance.hold(Hold("gave_up", "too many restarts", time.time(), time.time() + 1))
        instance.start()
        until = holds.read(str(instance.run)).until  # type: ignore[union-attr]
        instance.wait_for_life(1)
        assert instance.lives[0][1] >= until  # type: ignore[operator]
        assert holds.read(str(instance.run)) is None

    def test_a_malformed_hold_is_set_aside_and_said(self, instance: Instance) -> None:
        instance.run.mkdir(parents=True)
        instance.run.joinpath("hold.json").write_text('{"v": 1, "reason"')
        instance.start()
        instance.wait_for_life(1)
        assert "hold.json: not JSON" in instance.log_text()
        assert instance.run.joinpath("hold.json.bad").exists()

    def test_a_stop_while_held_makes_the_next_start_a_fresh_one(self, instance: Instance) -> None:
        instance.hold(Hold("gave_up", "too many restarts", time.time()))
        instance.start()
        instance.wait_for_log("waiting (gave_up)")
        stop(instance)
        assert "stopped: comfyui (exit status 0)" in instance.supervisord.log_text()
        assert not instance.run.joinpath("hold.json").exists()
        start(instance)
        instance.wait_for_life(1)

    def test_a_launcher_killed_while_held_leaves_the_hold(self, instance: Instance) -> None:
        instance.hold(Hold("maintenance", "new fans", time.time()))
        instance.start()
        instance.wait_for_log("waiting")
        pid = instance.supervisord.pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: instance.supervisord.info().pid not in {0, pid})
        wait_until(lambda: instance.log_text().count("waiting") == 2)
        assert not instance.lives

    def test_a_launcher_goes_when_its_supervisord_is_gone(self, instance: Instance) -> None:
        instance.hold(Hold("maintenance", "new fans", time.time()))
        instance.start()
        instance.wait_for_log("waiting")
        pid = instance.supervisord.pid()
        instance.supervisord.kill()
        wait_until(lambda: not is_running(pid))
        assert instance.run.joinpath("hold.json").exists()


def waits(instance: Instance) -> list[str]:
    """Return what the launcher has said of each wait."""
    return [line.partition("waiting ")[2] for line in instance.log_text().splitlines() if "waiting " in line]


class TestBackoff:
    def test_a_crash_loop_slows_down_and_supervisord_never_gives_up(self, instance: Instance) -> None:
        instance.script("exit 2")
        instance.start(COMFY_SUPERVISOR_BACKOFF="0.5:1:600")
        instance.wait_for_life(5)
        times = [at for _, at in instance.lives]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert [gap >= delay for gap, delay in zip(gaps, (0, 0.5, 1, 1), strict=False)] == [True] * 4
        log = instance.log_text()
        assert "2 short lives in a row" in log
        assert "(exited: exit status 2; not expected)" in log
        assert "FATAL" not in instance.supervisord.log_text()
        record = json.loads(instance.state.joinpath("starts.json").read_text())
        assert record["failures"] >= 4
        assert record["lives"] == record["failures"] + 1

    def test_each_life_is_counted_and_its_last_line_told(self, instance: Instance) -> None:
        instance.script(f"echo 'KeyError: <life'\"$(wc -l < {instance.lives_file}) & 'more'\"; exit 2")
        instance.start(COMFY_SUPERVISOR_BACKOFF="0.2:0.2:600")
        wait_until(lambda: instance.supervisord.rpc.state() and len(waits(instance)) >= 3, what="three are told")
        before = 1  # a wait is not told that was over before the launcher had started, on a busy machine
        for line in waits(instance):
            told = re.match(
                r"\(backoff\): (\d+) short lives in a row, the last one \d s \(exited: exit status 2;", line
            )
            assert told, line
            assert int(told[1]) > before
            before = int(told[1])
            assert f"; its last line: KeyError: <life{before} & 'more'; to start it now" in line

    def test_what_is_told_is_the_end_of_comfyui_not_of_a_launcher_that_waited(self, instance: Instance) -> None:
        instance.script("exit 3")
        instance.start(COMFY_SUPERVISOR_BACKOFF=LONG_BACKOFF)
        instance.wait_for_log("waiting (backoff)")
        os.kill(instance.supervisord.pid(), signal.SIGKILL)
        wait_until(lambda: instance.log_text().count("(exited: exit status 3; not expected)") == 2)

    def test_a_hold_on_disk_tells_of_the_backoff_and_lifting_it_starts_afresh(self, instance: Instance) -> None:
        instance.script("exit 2")
        instance.start(COMFY_SUPERVISOR_BACKOFF=LONG_BACKOFF)
        instance.wait_for_log("waiting (backoff)")
        hold = holds.read(str(instance.run))
        assert hold
        assert hold.reason == "backoff"
        assert hold.until == pytest.approx(hold.since + 100, abs=20)
        instance.script(SERVE)
        holds.clear(str(instance.run))
        instance.wait_for_life(3)
        wait_until(lambda: json.loads(instance.state.joinpath("starts.json").read_text())["failures"] == 0)

    def test_a_launcher_killed_while_backing_off_backs_off_again(self, instance: Instance) -> None:
        instance.script("exit 2")
        instance.start(COMFY_SUPERVISOR_BACKOFF=LONG_BACKOFF)
        instance.wait_for_log("waiting (backoff)")
        os.kill(instance.supervisord.pid(), signal.SIGKILL)
        wait_until(lambda: instance.log_text().count("2 short lives in a row") == 2)

    def test_stops_and_starts_of_an_operator_never_back_off(self, instance: Instance) -> None:
        instance.start(COMFY_SUPERVISOR_BACKOFF=LONG_BACKOFF)
        for count in range(1, 5):
            instance.wait_for_life(count)
            stop(instance)
            start(instance)
        instance.wait_for_life(5)
        assert instance.log_text() == ""

    def test_a_stop_that_needs_sigkill_is_an_operators_too(self, instance: Instance) -> None:
        instance.script("trap '' INT; sleep 1000 & wait; wait")
        section = instance.section(COMFY_SUPERVISOR_BACKOFF=LONG_BACKOFF)
        instance.supervisord.start(section + "stopwaitsecs = 1\n")
        for count in range(1, 3):
            instance.wait_for_life(count)
            stop(instance)
            start(instance)
        instance.wait_for_life(3)
        assert "stopped: comfyui (terminated by SIGKILL)" in instance.supervisord.log_text()

    def test_a_stop_while_backing_off_makes_the_next_start_a_fresh_one(self, instance: Instance) -> None:
        instance.script("exit 2")
        instance.start(COMFY_SUPERVISOR_BACKOFF=LONG_BACKOFF)
        instance.wait_for_log("waiting (backoff)")
        stop(instance)
        assert not instance.state.joinpath("starts.json").exists()
        instance.script(SERVE)
        start(instance)
        instance.wait_for_life(3)

    def test_a_life_that_a_signal_ended_counts(self, instance: Instance) -> None:
        instance.start(COMFY_SUPERVISOR_BACKOFF=LONG_BACKOFF)
        for count in range(1, 3):
            os.kill(instance.wait_for_life(count), signal.SIGKILL)
        instance.wait_for_log("(exited: terminated by SIGKILL; not expected)")

    def test_clean_exits_do_not_count(self, instance: Instance) -> None:
        instance.script("sleep 0.4")
        instance.start(COMFY_SUPERVISOR_BACKOFF="0.3:100:600")
        instance.wait_for_life(4)
        assert instance.log_text() == ""

    def test_a_comfyui_that_ends_at_once_without_complaint_backs_off(self, instance: Instance) -> None:
        instance.script("exit 0")
        instance.start(COMFY_SUPERVISOR_BACKOFF=LONG_BACKOFF)
        instance.wait_for_log("(exited: exit status 0; expected)")

    def test_nonsense_in_the_record_is_set_aside(self, instance: Instance) -> None:
        instance.state.mkdir(parents=True)
        instance.state.joinpath("starts.json").write_bytes(b"\xff\x00")
        instance.start()
        instance.wait_for_life(1)
        assert "starts.json: not JSON" in instance.log_text()

    def test_nonsense_for_numbers_is_said_and_the_usual_ones_are_taken(self, instance: Instance) -> None:
        instance.script("exit 2")
        instance.start(COMFY_SUPERVISOR_BACKOFF="soon")
        instance.wait_for_log("next start in 10 s")
        assert "COMFY_SUPERVISOR_BACKOFF" in instance.log_text()


class TestOrphans:
    def test_what_a_crashed_life_left_is_ended_before_the_next(self, instance: Instance) -> None:
        """The orphan is in a session of its own and holds the port."""
        ready = instance.state.parent / "ready"
        code = (
            f"import os, socket, sys, time; os.setsid(); s = socket.create_server(('127.0.0.1', {instance.port}));"
            f"open('{ready}', 'w').write(str(os.getpid())); time.sleep(1000)"
        )
        instance.script(
            f"if [ -e {ready} ]; then {SERVE}; fi\n"
            f'{sys.executable} -c "{code}" &\nwhile [ ! -s {ready} ]; do sleep 0.05; done\nexit 1'
        )
        instance.start()
        pid = instance.wait_for_life(2)
        assert pid == instance.supervisord.info().pid
        orphan = int(ready.read_text())
        assert not is_running(orphan)
        assert f"(pid {orphan}), left from an earlier life, with SIGTERM" in instance.log_text()
        assert "is held by" not in instance.log_text()

    def test_a_life_that_goes_on_without_its_supervisord_was_none_too_short(self, instance: Instance) -> None:
        """It is ended, and the next begun at once, however often ComfyUI failed before."""
        marks = {"COMFY_SUPERVISOR_INSTANCE": "cpu", "COMFY_SUPERVISOR_STATE": str(instance.state)}
        instance.state.mkdir(parents=True)
        with subprocess.Popen(["sleep", "1000"], env={**os.environ, **marks}) as left:
            starts.save(str(instance.state), starts.Start(starts.boot_id(), left.pid, starts.uptime(), 1, 2))
            instance.start(COMFY_SUPERVISOR_BACKOFF=LONG_BACKOFF)
            instance.wait_for_life(1)
        assert f"(pid {left.pid}), left from an earlier life, with SIGTERM" in instance.log_text()
        assert json.loads(instance.state.joinpath("starts.json").read_text())["failures"] == 1

    def test_a_stop_of_a_launcher_that_waits_leaves_no_comfyui(self, instance: Instance) -> None:
        """Held before it came to end what was left."""
        instance.start()
        old = instance.wait_for_life(1)
        instance.supervisord.kill()
        instance.hold(Hold("maintenance", "new fans", time.time()))
        instance.supervisord.start()
        instance.wait_for_log("waiting (maintenance)")
        stop(instance)
        assert not is_running(old)


class TestPort:
    def test_a_taken_port_is_named_with_its_holder_and_waited_for(self, instance: Instance) -> None:
        with socket.create_server(("127.0.0.1", instance.port)):
            instance.start()
            instance.wait_for_log(f"not started: port {instance.port} is held by ")
            assert f"(pid {os.getpid()}, user " in instance.log_text()
            hold = holds.read(str(instance.run))
            assert hold
            assert (hold.reason, hold.cause, hold.until) == ("configuration", "port_in_use", None)
            assert f"(pid {os.getpid()}, user " in hold.text
            assert not instance.lives
        instance.wait_for_life(1)
        assert holds.read(str(instance.run)) is None

    def test_a_launcher_killed_while_it_waits_for_a_port_holds_nothing_up(self, instance: Instance) -> None:
        with socket.create_server(("127.0.0.1", instance.port)):
            instance.start()
            wait_until(lambda: instance.run.joinpath("hold.json").exists())
        os.kill(instance.supervisord.pid(), signal.SIGKILL)
        instance.wait_for_life(1)
        assert not instance.run.joinpath("hold.json").exists()

    def test_somebody_elses_hold_is_left_alone_while_the_port_is_taken(self, instance: Instance) -> None:
        with socket.create_server(("127.0.0.1", instance.port)):
            instance.start()
            wait_until(lambda: instance.run.joinpath("hold.json").exists())
            instance.hold(Hold("maintenance", "new fans", 1.0))
        instance.wait_for_log("waiting (maintenance)")
        assert not instance.lives
        holds.clear(str(instance.run))
        instance.wait_for_life(1)

    def test_an_address_that_makes_no_sense_is_said_and_not_checked(self, instance: Instance) -> None:
        instance.start(COMFY_SUPERVISOR_ADDRESS="8188")
        instance.wait_for_life(1)
        assert "COMFY_SUPERVISOR_ADDRESS" in instance.log_text()


class TestElsewhere:
    def test_two_supervisords_do_not_end_each_others_comfyui(
        self, instance: Instance, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """The second one says so and waits; when the first one stops, it goes on."""
        instance.start()
        instance.wait_for_life(1)
        first = instance.supervisord.pid("comfyui")
        folder = tmp_path_factory.mktemp("two")
        second = Supervisord(folder)
        log = folder / "second.log"
        try:
            second.start(instance.section().replace(str(instance.log), str(log)))
            wait_until(lambda: log.exists() and "run by another supervisord" in log.read_text())
            assert instance.supervisord.info("comfyui").pid == first
            instance.supervisord.rpc.stop("comfyui")
            instance.wait_for_life(2)
        finally:
            second.close()


class TestCommand:
    def test_the_working_folder_is_the_one_that_is_meant(self, instance: Instance, tmp_path: Path) -> None:
        instance.script(f"pwd > {tmp_path}/where; {SERVE}")
        instance.start(COMFY_SUPERVISOR_DIRECTORY="/usr")
        wait_until(lambda: (tmp_path / "where").exists() and (tmp_path / "where").read_text() == "/usr\n")

    def test_a_folder_that_is_gone_is_waited_for(self, instance: Instance, tmp_path: Path) -> None:
        """An unmounted disk: said once, with no start in vain."""
        folder = tmp_path / "disk"
        instance.start(COMFY_SUPERVISOR_DIRECTORY=str(folder))
        instance.wait_for_log(f"not started: the folder {folder} is not there")
        assert instance.supervisord.log_text().count("spawned") == 1
        folder.mkdir()
        instance.wait_for_life(1)

    def test_a_missing_program_is_waited_for(self, instance: Instance) -> None:
        instance.command.unlink()
        instance.start()
        instance.wait_for_log(f"not started: {instance.command} does not exist")
        wait_until(lambda: holds.read(str(instance.run)))
        instance.script(SERVE)
        instance.wait_for_life(1)
        assert holds.read(str(instance.run)) is None

    def test_a_program_that_the_kernel_refuses_is_tried_again(self, instance: Instance) -> None:
        instance.command.write_text("#!/no/such/interpreter\n")
        instance.start()
        instance.wait_for_log("can't be executed: No such file or directory; to start it now")
        instance.script(SERVE)
        holds.clear(str(instance.run))
        instance.wait_for_life(1)
