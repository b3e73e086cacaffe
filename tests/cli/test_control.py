"""``start``, ``stop``, ``restart`` and ``status``, on one instance and on several."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_supervisor import machine
from comfy_supervisor.launch import holds
from comfy_supervisor.service import UNIT
from tests.cli.service import Service, without_torch
from tests.nvml import Card, Nvml
from tests.support import wait_until


def states(service: Service) -> dict[str, str]:
    return {row["program"]: row["state"] for row in service.status()}


class TestStatus:
    def test_json_tells_all_there_is_to_know(self, up: Service) -> None:
        wait_until(lambda: (up.status()[0]["health"] or {}).get("word") in {"STARTING", "IDLE"}, what="a well instance")
        (row,) = up.status()
        pid = up.pid()
        assert row.pop("uptime_seconds") >= 0
        assert row.pop("health")["word"] in {"STARTING", "IDLE"}
        assert row.pop("memory_mib") > 10
        assert set(row.pop("jobs")) == {
            *("queued", "running", "waiting", "quarantined"),
            *("done", "failed", "deleted"),
        }
        assert row == {
            "program": "comfyui",
            "id": "cpu",
            "standin": True,
            "state": "RUNNING",
            "text": "",
            "pid": pid,
            "url": up.url,
            "port": up.port,
            "ready": True,
            "watched": True,
            "queue": 0,
            "journal": "ok",
            "paused": False,
            "gpu": None,
            "vram_used_mib": None,
            "vram_total_mib": None,
            "gpu_percent": None,
            "incident": None,
            "log": str(up.state / "logs" / "comfyui.log"),
        }

    def test_the_table_is_for_people(self, up: Service) -> None:
        header, row, remark = up.ok("status").splitlines()
        assert remark == "comfyui: the stand-in, not ComfyUI: it generates no images"
        assert header.split() == [
            *("program", "state", "health", "pid", "uptime"),
            *("url", "api", "queue", "ram", "gpu", "vram"),
        ]
        assert row.split()[:2] == ["comfyui", "RUNNING"]
        assert row.split()[3] == str(up.info().pid)

    def test_one_that_does_not_listen_yet_is_starting(self, service: Service) -> None:
        service.settings(comfyui={"environment": {"STANDIN_START": "silent:1000"}})
        up = service.start("up", "-d")
        up.wait_for("importing")
        wait_until(lambda: service.status()[0]["text"].startswith("not yet listening; started "))
        assert service.status()[0]["ready"] is False
        _, row, *remarks = service.ok("status").splitlines()
        assert "  starting  " in row
        assert remarks[0].startswith("comfyui: not yet listening; started ")
        up.interrupt()

    def test_the_exit_code_is_asked_for(self, up: Service) -> None:
        assert up.run("status", "--exit-code").returncode == 0

    def test_maintenance_shows_at_once(self, up: Service) -> None:
        """Before the health listener's next look."""
        wait_until(lambda: up.status()[0]["health"])
        up.ok("maintenance", "on")
        try:
            assert "(maintenance)" in up.ok("status")
        finally:
            up.ok("maintenance", "off")
        assert "(maintenance)" not in up.ok("status")

    def test_what_is_down_is_an_answer_too(self, service: Service) -> None:
        service.ok("render")
        (row,) = service.status()
        assert (row["state"], row["ready"], row["pid"]) == ("DOWN", False, None)
        assert row["text"] == "supervisord isn't running; comfy-supervisor up starts it"
        assert service.run("status", "--exit-code").returncode == 1

    def test_what_a_service_starts_is_not_to_be_started_beside_it(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By hand it would run unconfined, and not at boot."""
        service.ok("render")
        units = service.folder / "home" / ".config" / "systemd" / "user"
        units.mkdir(parents=True)
        (units / UNIT).write_text(service.ok("service", "install", "--user", "--print"))
        down = "supervisord isn't running; comfy-supervisor service start --user starts it, "
        assert service.status()[0]["text"] == f"{down}service logs --user tells why it ended"
        monkeypatch.setattr(machine, "SYSTEM_UNITS", units)
        down = (
            "supervisord isn't running; sudo comfy-supervisor service start starts it, service logs tells why it ended"
        )
        assert service.status()[0]["text"] == down
        assert service.refused("start") == f"error: {down}\n"
        service.conf.unlink()
        assert "nothing is rendered yet; sudo comfy-supervisor service start does it" in service.refused("status")
        assert (
            "note: there is a service for this: sudo comfy-supervisor service start has it"
            in service.run("up", "-d").stderr
        )
        service.ok("down")
        service.settings(paths={"state": str(service.folder / "other")})
        assert "nothing is rendered yet; comfy-supervisor up does it" in service.refused("status")

    def test_without_a_configuration_it_says_what_to_do(self, service: Service) -> None:
        for command in ("status", "start", "stop", "restart", "down", "logs"):
            assert f"{service.conf}: nothing is rendered yet; comfy-supervisor up" in service.refused(command)


class TestOne:
    def test_stop_start_and_restart(self, up: Service) -> None:
        first = up.pid()
        assert up.ok("restart") == "comfyui: restarted\n"
        up.wait_for_api()
        second = up.info().pid
        assert second != first
        assert up.ok("start") == "comfyui: runs already\n"
        assert up.ok("stop") == "comfyui: stopped\n"
        assert up.ok("stop") == "comfyui: was stopped already\n"
        assert up.run("status", "--exit-code").returncode == 1
        assert states(up) == {"comfyui": "STOPPED"}
        assert up.ok("start", "comfyui") == "comfyui: started\n"
        up.wait_for_api()

    def test_start_refuses_the_port_of_a_stranger_and_changes_nothing(self, up: Service) -> None:
        up.ok("stop")
        with socket.create_server(("127.0.0.1", up.port)):
            assert f"error: comfyui: port {up.port} is held by " in up.refused("start")
        assert states(up) == {"comfyui": "STOPPED"}
        up.ok("start")

    def test_no_interpreter_without_torch_is_started(self, service: Service) -> None:
        service.ok("up", "-d")
        service.settings(comfyui=without_torch(service))
        service.ok("render")
        pid = service.pid()
        assert service.ok("start") == "comfyui: runs already\n"
        assert "has no torch" in service.refused("restart")
        assert service.info().pid == pid
        service.ok("stop")
        assert "has no torch" in service.refused("start")

    def test_supervisorctl_without_any_option(self, up: Service) -> None:
        assert up.supervisorctl("stop", "comfyui").stdout == "comfyui: stopped\n"
        assert not up.answers()
        assert up.supervisorctl("start", "comfyui").stdout == "comfyui: started\n"
        up.wait_for_api()
        assert "RUNNING" in up.supervisorctl("status", "comfyui").stdout

    def test_an_unknown_name_is_the_users_mistake(self, up: Service) -> None:
        for command in ("start", "stop", "restart", "logs"):
            assert up.refused(command, "gpu7") == "error: gpu7: no such program; there is comfyui\n"

    def test_without_supervisord_there_is_nothing_to_start(self, service: Service) -> None:
        service.ok("render")
        for command in ("start", "stop", "restart"):
            assert service.refused(command) == "error: supervisord isn't running; comfy-supervisor up starts it\n"

    def test_an_order_that_nobody_hears_yet_says_so(self, service: Service) -> None:
        service.ok("render")
        for command in ("maintenance on", "maintenance off", "reset"):
            done = service.run(*command.split())
            assert done.returncode == 0
            assert done.stdout.startswith("comfyui: ")
            assert done.stderr.startswith("note: supervisord isn't running: this takes effect once it does")

    def test_an_order_that_is_heard_says_no_more(self, up: Service) -> None:
        for command in ("maintenance on", "maintenance off", "reset"):
            assert up.run(*command.split()).stderr == ""

    @pytest.mark.parametrize("command", ["start", "restart"])
    def test_a_hold_is_shown_and_lifted_by_whoever_wants_a_start(self, command: str, service: Service) -> None:
        service.ok("render")
        run = service.state / "run" / "cpu"
        holds.write(str(run), holds.Hold(holds.GAVE_UP, "five stalls in an hour", time.time()))
        done = service.run("up", "-d")
        assert done.returncode == 1
        service.wait_for_log("waiting (gave_up)")
        (row,) = service.status()
        assert (row["state"], row["text"], row["ready"]) == ("HELD", "five stalls in an hour", False)
        assert (row["uptime_seconds"], row["memory_mib"]) == (None, None)
        assert "comfyui: five stalls in an hour" in service.ok("status")
        service.ok(command)
        service.wait_for_api()
        assert states(service) == {"comfyui": "RUNNING"}

    def test_an_api_that_does_not_answer_is_not_ready(self, up: Service) -> None:
        os.kill(up.pid(), signal.SIGSTOP)
        (row,) = up.status()
        assert (row["state"], row["ready"]) == ("RUNNING", False)
        assert "no whole answer" in row["text"]
        os.kill(row["pid"], signal.SIGCONT)


@pytest.fixture(scope="class")
def two(nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a service with one instance on each of two GPUs."""
    nvml = Nvml(nvml_library, tmp_path_factory.mktemp("machine"))
    nvml.cards([Card(used_mib=1000, utilization=7), Card("NVIDIA GeForce RTX 4080", used_mib=2000)])
    service = Service(nvml.environ)
    service.settings(gpu={"devices": "all"}, paths={"output": str(service.folder / "output")})
    try:
        service.ok("up", "-d")
        yield service
    finally:
        service.close()


class TestSeveral:
    def test_each_has_its_own_name_port_and_gpu(self, two: Service) -> None:
        rows = [(row["program"], row["port"], row["gpu"], row["vram_used_mib"], row["ready"]) for row in two.status()]
        assert rows == [
            ("comfyui:gpu0", two.port, "0", 1000, True),
            ("comfyui:gpu1", two.port + 1, "1", 2000, True),
        ]
        assert two.answers(two.port + 1)
        assert "1000/24564 MiB" in two.ok("status")

    def test_supervisorctl_knows_them_one_by_one_and_as_a_group(self, two: Service) -> None:
        assert "comfyui:gpu1: stopped" in two.supervisorctl("stop", "comfyui:gpu1").stdout
        assert states(two) == {"comfyui:gpu0": "RUNNING", "comfyui:gpu1": "STOPPED"}
        assert "comfyui:gpu0: stopped" in two.supervisorctl("stop", "comfyui:*").stdout
        assert set(states(two).values()) == {"STOPPED"}
        two.supervisorctl("start", "comfyui:*")
        two.wait_for_api()
        two.wait_for_api(two.port + 1)

    @pytest.mark.parametrize("name", ["gpu1", "comfyui:gpu1"])
    def test_our_commands_take_short_names_too(self, name: str, two: Service) -> None:
        assert two.ok("stop", name) == "comfyui:gpu1: stopped\n"
        assert states(two) == {"comfyui:gpu0": "RUNNING", "comfyui:gpu1": "STOPPED"}
        assert two.ok("start", name) == "comfyui:gpu1: started\n"
        two.wait_for_api(two.port + 1)

    @pytest.mark.parametrize("name", ["comfyui", "comfyui:*"])
    def test_the_groups_name_means_all(self, name: str, two: Service) -> None:
        said = two.ok("start", name)
        assert said == "comfyui:gpu0: runs already\ncomfyui:gpu1: runs already\n"

    def test_one_that_crashes_takes_nobody_with_it(self, two: Service) -> None:
        other = two.pid("comfyui:gpu0")
        pid = two.pid("comfyui:gpu1")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: two.info("comfyui:gpu1").pid not in {0, pid})
        two.wait_for_api(two.port + 1)
        assert two.info("comfyui:gpu0").pid == other
