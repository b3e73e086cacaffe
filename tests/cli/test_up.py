"""``up`` and ``down``: how all comes up, and how it goes, whoever ends it."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from comfy_supervisor import presence
from comfy_supervisor.cli.up import PASSING, Hope
from comfy_supervisor.launch import holds
from comfy_supervisor.rendered import Rendered
from comfy_supervisor.status import Status
from tests.cli.service import Service, without_torch
from tests.nvml import Card, Nvml
from tests.support import is_running, wait_until


class TestBackground:
    def test_it_returns_once_the_api_answers_and_down_ends_it(self, apart: Service) -> None:
        said = apart.ok("up", "-d")
        assert apart.answers()
        pid = apart.pid()
        assert f"comfyui: process up (pid {pid})" in said
        assert "API ready in " in said
        assert apart.ok("down") == "down\n"
        assert not apart.processes()

    def test_one_that_never_gets_ready_is_explained_and_goes_on_trying(self, service: Service) -> None:
        settings = {"environment": {"STANDIN_START": "end:3"}}
        service.settings(comfyui=settings, restart={"first_delay": 1000, "longest_delay": 1000})
        done = service.run("up", "-d")
        assert done.returncode == 1
        assert f"comfyui does not get ready; the end of {service.state}/logs/comfyui.log:\n" in done.stderr
        wait_until(lambda: "2 short lives in a row" in service.log())
        assert service.info().statename == "RUNNING"
        left = seconds_left(service)
        wait_until(lambda: seconds_left(service) < left, what="the status counts down")

    def test_a_short_backoff_that_it_finds_is_waited_for(self, service: Service) -> None:
        service.ok("render")
        now = time.time()
        run = str(service.state / "run" / "cpu")
        holds.write(run, holds.Hold(holds.BACKOFF, "3 short lives in a row; next start in 8 s", now, now + 8))
        said = service.ok("up", "-d")
        assert re.search(r"comfyui: held: 3 short lives in a row; next start in \d s", said)
        assert "API ready in " in said

    def test_what_is_known_to_keep_it_from_starting_is_explained_with_its_mend(self, service: Service) -> None:
        """A module that is missing; and the status says so for as long as it is held for that."""
        settings = {"environment": {"STANDIN_START": "missing_module"}}
        service.settings(comfyui=settings, restart={"first_delay": 1000, "longest_delay": 1000})
        done = service.run("up", "-d")
        assert done.returncode == 1
        told = [line for line in done.stderr.splitlines() if line.startswith("comfyui: ")]
        assert told[0].startswith("comfyui: missing_module: ")
        assert "einops" in told[0]
        assert told[1].startswith("comfyui: fix: ")
        wait_until(lambda: all(line in service.ok("status") for line in told), what="the status says so, too")

    def test_start_says_what_held_it_back_and_whether_it_dies_again(self, service: Service) -> None:
        settings = {"environment": {"STANDIN_START": "missing_module"}}
        service.settings(comfyui=settings, restart={"first_delay": 1000, "longest_delay": 1000})
        service.run("up", "-d")
        wait_until(lambda: service.ok("status").count("missing_module: "), what="the hold")
        done = service.run("start")
        assert "comfyui: before, missing_module: " in done.stdout
        assert done.stderr.count("missing_module") == 1, "it was explained above"

    def test_ctrl_c_while_it_waits_leaves_it_in_the_background(self, service: Service) -> None:
        service.settings(comfyui={"environment": {"STANDIN_START": "slow:2"}})
        up = service.start("up", "-d")
        up.wait_for("importing")
        up.interrupt()
        assert up.end() == 130
        assert "it goes on in the background; comfy-supervisor down stops it" in up.output
        service.wait_for_api()

    def test_a_down_meanwhile_ends_the_wait(self, service: Service) -> None:
        service.settings(comfyui={"environment": {"STANDIN_START": "silent:1000"}})
        up = service.start("up", "-d")
        up.wait_for("importing")
        service.ok("down")
        assert up.end() == 2
        assert "supervisord has ended; look at" in up.output

    def test_down_when_nothing_runs_is_fine(self, service: Service) -> None:
        service.ok("render")
        assert service.ok("down") == "nothing to do: supervisord isn't running\n"

    def test_the_environment_chooses_as_the_settings_file_does(self, service: Service) -> None:
        service.ok("up", "-d", COMFY_SUPERVISOR__COMFYUI__CORS_ORIGIN="https://example.org")
        assert "https://example.org" in psutil.Process(service.pid()).cmdline()


class TestForeground:
    def test_ctrl_c_ends_comfyui_in_order_then_supervisord(self, service: Service) -> None:
        up = service.start("up")
        up.wait_for("API ready")
        up.interrupt()
        assert up.end() == 130
        assert "stopping ComfyUI, then supervisord" in up.output
        assert "Traceback" not in up.output
        assert not service.processes()
        assert "stopped: comfyui (exit status 0)" in service.log("supervisord")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_sigterm_and_a_closed_terminal_end_it_in_order(self, number: signal.Signals, service: Service) -> None:
        up = service.start("up")
        up.wait_for("API ready")
        up.process.send_signal(number)
        assert up.end() == 0
        assert not service.processes()
        assert "stopped: comfyui (exit status 0)" in service.log("supervisord")

    def test_down_from_elsewhere_ends_it(self, service: Service) -> None:
        up = service.start("up")
        up.wait_for("API ready")
        service.ok("down")
        assert up.end() == 0
        assert up.output.endswith("stopped from elsewhere: ComfyUI and supervisord have ended\n")
        assert "does not answer" not in up.output

    def test_a_supervisord_that_was_killed_is_not_fine(self, service: Service) -> None:
        up = service.start("up")
        up.wait_for("API ready")
        os.kill(service.supervisord_pid(), signal.SIGKILL)
        assert up.end() == 1
        assert "supervisord has ended, and nobody asked it to; look at " in up.output
        kill_all(service)

    def test_ctrl_c_before_the_api_is_ready(self, service: Service) -> None:
        service.settings(comfyui={"environment": {"STANDIN_START": "slow"}})
        up = service.start("up")
        up.wait_for("importing")
        service.wait_for_log("Importing a custom node")
        up.interrupt()
        assert up.end() == 130
        assert not service.processes()

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
    def test_a_signal_while_supervisord_starts_leaves_nothing(
        self, number: signal.Signals, code: int, service: Service
    ) -> None:
        up = service.start("up")
        wait_until(lambda: any("supervisor.supervisord" in argv for argv in service.commands().values()))
        up.process.send_signal(number)
        assert up.end() == code
        assert not service.processes()

    def test_ctrl_c_ends_a_supervisord_that_was_stopped(self, service: Service) -> None:
        up = service.start("up")
        up.wait_for("API ready")
        os.kill(service.supervisord_pid(), signal.SIGSTOP)
        up.interrupt()
        assert up.end() == 130
        assert not service.processes()

    def test_it_is_given_up_only_where_no_instance_can_go_on(self, gpu_service: Service, nvml: Nvml) -> None:
        nvml.cards([Card(), Card()])
        gpu_service.settings(gpu={"devices": "all"}, paths={"output": str(gpu_service.folder / "output")})
        gpu_service.ok("render")
        lost = holds.Hold(holds.GPU_FAULT, "the GPU is lost", time.time())
        holds.write(str(gpu_service.state / "run" / "gpu0"), lost)
        up = gpu_service.start("up", "--exit-on-give-up")
        up.wait_for("comfyui:gpu0: held: the GPU is lost")
        up.wait_for("comfyui:gpu1: API ready")
        assert up.process.poll() is None
        holds.write(str(gpu_service.state / "run" / "gpu1"), lost)
        os.kill(next(row["pid"] for row in gpu_service.status() if row["id"] == "gpu1"), signal.SIGKILL)
        assert up.end() == 1
        assert up.output.endswith("all that is to run is given up (--exit-on-give-up): stopping supervisord\n")
        assert not gpu_service.processes()

    def test_what_may_pass_by_itself_must_last_before_it_is_given_up(self) -> None:
        """A port that another process has for a moment, as the launcher finds it, ends no container."""
        instance = Rendered("comfyui", "cpu", (), Path("state"), Path("run"), Path("log"), "")
        taken = Status(instance, "HELD", hold=holds.Hold(holds.CONFIGURATION, "taken", 0.0, by=holds.LAUNCHER))
        spent = Status(instance, "HELD", hold=holds.Hold(holds.GAVE_UP, "spent", 0.0, by="listener"))
        fine = Status(instance, "RUNNING")
        assert Hope().is_gone([spent, spent], 0.0)
        hope = Hope()
        assert not hope.is_gone([spent, taken], 100.0)
        assert not hope.is_gone([spent, taken], 99.0 + PASSING)
        assert not hope.is_gone([spent, fine], 100.0 + PASSING)
        assert not hope.is_gone([spent, taken], 1000.0)
        assert not hope.is_gone([spent, taken], 999.0 + PASSING)
        assert hope.is_gone([spent, taken], 1000.0 + PASSING)

    def test_giving_up_is_for_the_foreground(self, service: Service) -> None:
        done = service.run("up", "--detach", "--exit-on-give-up")
        assert done.returncode == 2
        assert "it doesn't go with --detach" in done.stderr

    def test_what_it_died_of_is_told_as_it_happens(self, service: Service) -> None:
        """Once for each death, with the mend, and nothing of that for the end that Ctrl-C asks for."""
        settings = {"environment": {"STANDIN_START": "abort"}}
        service.settings(comfyui=settings, restart={"first_delay": 1000, "longest_delay": 1000})
        up = service.start("up")
        up.wait_for("2 short lives in a row")
        wait_until(lambda: up.output.count("comfyui: fix: ") == 2, what=up.output)
        up.interrupt()
        assert up.end() == 130
        assert up.output.count("comfyui: segfault: ") == up.output.count(" ended\n") == 2

    def test_what_happens_is_told_as_it_happens(self, service: Service) -> None:
        up = service.start("up")
        up.wait_for("API ready")
        pid = service.pid()
        os.kill(pid, signal.SIGKILL)
        up.wait_for(f"process {pid} ended")
        wait_until(lambda: up.output.count("API ready") == 2)
        assert "\x1b" not in up.output
        assert "\r" not in up.output


class TestTwo:
    def test_a_second_up_is_refused_and_harms_nothing(self, up: Service) -> None:
        pids = (up.supervisord_pid(), up.info().pid)
        up.settings(restart={"stop_seconds": 9})
        before = up.conf.read_text()
        said = up.refused("up", "-d")
        assert f"supervisord runs already (pid {pids[0]}" in said
        assert (up.supervisord_pid(), up.info().pid) == pids
        assert up.conf.read_text() == before

    def test_of_two_at_once_one_wins(self, service: Service) -> None:
        ups = [service.start("up", "-d") for _ in range(2)]
        assert sorted(up.end(60) for up in ups) == [0, 2]
        loser = next(up for up in ups if up.process.returncode == 2)
        assert "supervisord runs already" in loser.output
        assert service.answers()
        supervisords = [pid for pid, argv in service.commands().items() if "supervisor.supervisord" in argv]
        assert supervisords == [service.supervisord_pid()]

    def test_whoever_comes_second_waits_for_the_first(self, service: Service) -> None:
        service.state.mkdir()
        with (service.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)  # whoever changes something wants it alone
            second = service.start("render")
            process = psutil.Process(second.process.pid)
            wait_until(lambda: any(file.path == lock.name for file in process.open_files()))
            with pytest.raises(subprocess.TimeoutExpired):
                second.end(0.5)
            assert not service.conf.exists()
        assert second.end() == 0

    def test_what_the_first_has_remembered_meanwhile_is_heeded(self, gpu_service: Service, nvml: Nvml) -> None:
        """Else one port could be given twice."""
        nvml.cards([Card(), Card()])
        gpu_service.settings(gpu={"devices": "all"}, paths={"output": str(gpu_service.folder / "output")})
        gpu_service.ok("render")
        memory = gpu_service.state / "instances.json"
        remembered, (low, high) = memory.read_text(), (gpu_service.port, gpu_service.port + 1)
        memory.unlink()
        with (gpu_service.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            second = gpu_service.start("render")
            process = psutil.Process(second.process.pid)
            wait_until(lambda: any(file.path == lock.name for file in process.open_files()))
            swapped = remembered.replace(f'"port": {low}', '"port": 0').replace(f'"port": {high}', f'"port": {low}')
            memory.write_text(swapped.replace('"port": 0', f'"port": {high}'))
        assert second.end() == 0
        conf = gpu_service.conf.read_text()
        assert conf.index(f"--port {high}") < conf.index(f"--port {low}")

    def test_one_whose_configuration_was_removed_is_still_found(self, up: Service) -> None:
        text = up.conf.read_text()
        up.conf.unlink()
        assert "supervisord runs already" in up.refused("up", "-d")
        up.conf.write_text(text)


class TestPorts:
    def test_who_holds_a_port_is_named_before_anything_is_started(self, service: Service) -> None:
        with socket.create_server(("127.0.0.1", service.port)):
            said = service.refused("up", "-d")
            me = psutil.Process()
            assert f"comfyui: port {service.port} is held by {me.name()} (pid {me.pid}, " in said
        assert not service.processes()
        assert not service.conf.exists()

    def test_one_that_is_taken_later_is_a_hold_and_no_loop(self, service: Service) -> None:
        service.ok("up", "-d")
        service.ok("stop")
        with socket.create_server(("127.0.0.1", service.port)):
            service.supervisorctl("start", "comfyui")
            wait_until(lambda: service.status()[0]["state"] == "HELD")
            assert f"port {service.port} is held by " in service.status()[0]["text"]


class TestLeftovers:
    def test_a_leftover_that_answers_is_not_taken_for_what_is_held(self, service: Service) -> None:
        """It has the port, and its jobs; but it is not what supervisord has started."""
        service.ok("up", "-d")
        os.kill(service.supervisord_pid(), signal.SIGKILL)
        wait_until(lambda: len(service.processes()) == 1)
        holds.write(str(service.state / "run" / "cpu"), holds.Hold(holds.GPU_FAULT, "GPU 0 is lost", time.time()))
        done = service.run("up", "-d")
        assert done.returncode == 1
        assert "held: GPU 0 is lost" in done.stdout
        assert service.answers()
        assert (service.status()[0]["state"], service.status()[0]["ready"]) == ("HELD", False)
        service.ok("down")
        wait_until(lambda: not service.processes())

    def test_a_supervisord_whose_socket_was_deleted_is_named(self, service: Service) -> None:
        service.ok("up", "-d")
        pid, child = service.supervisord_pid(), service.pid()
        (service.state / "run" / "supervisor.sock").unlink()
        said = f"supervisord (pid {pid}), whose socket is gone, runs python (pid {child}): kill {pid} ends both"
        assert said in service.ok("status")
        assert said in service.refused("down")
        assert is_running(child)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not service.processes())

    def test_a_leftover_alone_is_brought_down_too(self, service: Service) -> None:
        service.ok("up", "-d")
        os.kill(service.supervisord_pid(), signal.SIGKILL)
        wait_until(lambda: len(service.processes()) == 1)
        assert service.ok("down").startswith("comfyui: ended python")
        assert not service.processes()

    def test_a_killed_supervisord_is_no_obstacle_and_its_orphans_are_ended(self, service: Service) -> None:
        service.ok("up", "-d")
        orphan = service.pid()
        os.kill(service.supervisord_pid(), signal.SIGKILL)
        wait_until(lambda: len(service.processes()) == 1)
        assert (service.state / "run" / "supervisor.sock").exists()
        assert (service.state / "run" / "supervisord.pid").exists()
        assert is_running(orphan)
        assert f"(pid {orphan}) still runs, unwatched, until that or comfy-supervisor down" in service.ok("status")
        service.ok("up", "-d")
        assert not is_running(orphan)
        assert service.info().pid != orphan
        assert f"(pid {orphan}), left from an earlier life" in service.log()

    def test_a_socket_and_a_pid_file_of_somebody_elses(self, service: Service) -> None:
        """The pid is that of a process that lives, and is no supervisord."""
        run = service.state / "run"
        run.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(run / "supervisor.sock"))
        (run / "supervisord.pid").write_text(f"{os.getpid()}\n")
        service.ok("up", "-d")
        assert int((run / "supervisord.pid").read_text()) == service.supervisord_pid()


class TestStoppedSupervisord:
    @pytest.fixture
    def stopped(self, up: Service) -> Iterator[Service]:
        """Give a service whose supervisord stands still."""
        pid = up.supervisord_pid()
        os.kill(pid, signal.SIGSTOP)
        yield up
        os.kill(pid, signal.SIGCONT)

    def test_every_command_says_so_within_seconds(self, stopped: Service) -> None:
        stopped.settings(restart={"stop_seconds": 9})
        before = stopped.conf.read_text()
        began = time.monotonic()
        commands = [stopped.start(*words) for words in (["up", "-d"], ["down"], ["start"], ["stop"], ["status"])]
        assert [command.end() for command in commands] == [2, 2, 2, 2, 0]
        for command in commands:
            assert "does not answer: timed out; look for one that is stopped (kill -CONT)" in command.output
        assert time.monotonic() - began < 20
        assert stopped.conf.read_text() == before

    def test_apply_changes_nothing(self, stopped: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(presence, "running", partial(presence.running, timeout=0.5))
        stopped.settings(restart={"stop_seconds": 9})
        before = stopped.conf.read_text()
        assert "does not answer: timed out" in stopped.refused("apply")
        assert stopped.conf.read_text() == before


class TestNoComfyui:
    def test_an_interpreter_without_torch(self, service: Service) -> None:
        service.settings(comfyui=without_torch(service))
        said = service.refused("up", "-d")
        assert f'comfyui.python = "{service.folder}/no-torch": has no torch, ' in said
        assert f"-m pip install -r {service.folder}/ComfyUI/requirements.txt" in said
        assert not service.state.exists()

    def test_none_is_found(self, service: Service) -> None:
        service.settings(comfyui={"directory": ""})
        said = service.refused("up", "-d")
        assert 'comfyui.directory = "": no ComfyUI found in ' in said or Path("/opt/ComfyUI").exists()
        assert not service.state.exists()

    def test_a_folder_that_is_none(self, service: Service) -> None:
        service.settings(comfyui={"directory": str(service.folder)})
        said = service.refused("up", "-d")
        assert "is not ComfyUI's folder (main.py and comfy/cli_args.py not found)" in said
        assert not service.state.exists()


def seconds_left(service: Service) -> int:
    """Return in how many seconds the next start is, as ``status`` tells it."""
    wait_until(lambda: service.status()[0]["state"] == "HELD")
    (figure,) = re.findall(r"next start in (\d+) s", service.status()[0]["text"])
    return int(figure)


def kill_all(service: Service) -> None:
    """Kill what is left."""
    for each in service.processes():
        each.kill()
