"""``apply``: changed settings are taken over, and nothing else changes."""

from __future__ import annotations

import socket
from typing import Any

import psutil
import pytest

from comfy_supervisor import plan
from comfy_supervisor.render import text
from tests.cli.service import Service, without_torch
from tests.nvml import Card, Nvml
from tests.support import free_port, wait_until

ORIGIN = {"comfyui": {"cors_origin": "https://example.org"}}


def states(service: Service) -> dict[str, str]:
    return {row["program"]: row["state"] for row in service.status()}


def command(service: Service, program: str = "comfyui") -> list[str]:
    """Return the command line that a program's process has."""
    return psutil.Process(service.pid(program)).cmdline()


class TestOne:
    def test_it_restarts_with_the_new_settings_and_says_why(self, service: Service) -> None:
        service.ok("up", "-d")
        pid = service.pid()
        service.settings(**ORIGIN, restart={"stop_seconds": 9})
        said = service.ok("apply")
        assert "[program:comfyui] restarts:\n" in said
        assert "  command: with --enable-cors-header https://example.org\n" in said
        assert "  stopwaitsecs: 10 → 9\n" in said
        assert "comfyui: stopped\ncomfyui: started\n" in said
        assert service.info().pid != pid
        assert "https://example.org" in command(service)

    def test_it_returns_once_the_api_answers(self, service: Service) -> None:
        service.ok("up", "-d")
        service.settings(**ORIGIN)
        said = service.ok("apply")
        assert service.answers()
        assert f"comfyui: process up (pid {service.info().pid})\n" in said
        assert said.splitlines()[-1].endswith(f" s: {service.url}")

    def test_it_does_not_wait_if_told_so(self, service: Service) -> None:
        service.ok("up", "-d")
        service.settings(comfyui={"environment": {"STANDIN_START": "silent:1000"}})
        said = service.ok("apply", "--no-wait")
        assert "comfyui: started\n" in said
        assert "importing" not in said

    def test_one_that_does_not_get_ready_is_explained(self, service: Service) -> None:
        service.ok("up", "-d")
        service.settings(
            comfyui={"environment": {"STANDIN_START": "end:3"}}, restart={"first_delay": 1000, "longest_delay": 1000}
        )
        done = service.run("apply")
        assert done.returncode == 1
        assert f"comfyui does not get ready; the end of {service.state}/logs/comfyui.log:\n" in done.stderr

    def test_nothing_to_do(self, up: Service) -> None:
        pid = up.pid()
        assert up.ok("apply") == f"nothing has changed\nunchanged: {up.conf}\n"
        assert up.info().pid == pid

    def test_what_changes_nothing_that_runs_is_told_from_nothing(self, service: Service) -> None:
        """As a new release of ComfyUI does, whose options stay: the configuration names it."""
        service.ok("up", "-d")
        pid = service.pid()
        service.conf.write_text(service.conf.read_text().replace("; ComfyUI", "; An older ComfyUI", 1))
        assert service.ok("apply") == f"nothing has changed for what runs\nwrote {service.conf}\n"
        service.settings(notify={"webhook": "http://127.0.0.1:9/"})
        assert "new alerts, which the health listener sends without a restart" in service.ok("apply", "--dry-run")
        assert service.info().pid == pid

    def test_a_dry_run_only_tells(self, up: Service) -> None:
        pid, before = up.info().pid, up.conf.read_text()
        up.settings(**ORIGIN)
        assert "with --enable-cors-header" in up.ok("apply", "--dry-run")
        assert (up.info().pid, up.conf.read_text()) == (pid, before)

    def test_what_was_rendered_meanwhile_is_taken_over_too(self, service: Service) -> None:
        """What counts is what runs, not what was written last."""
        service.ok("up", "-d")
        service.settings(**ORIGIN)
        service.ok("render")
        assert "with --enable-cors-header" in service.ok("apply")
        service.wait_for_api()
        assert "https://example.org" in command(service)
        assert "nothing has changed" in service.ok("apply")

    def test_what_is_supervisords_own_disturbs_nobody(self, up: Service) -> None:
        pid = up.pid()
        elsewhere = up.folder / "logs"
        up.settings(logs={"max_bytes": "50MiB"}, paths={"logs": str(elsewhere)})
        said = up.ok("apply", "--dry-run")
        assert "[supervisord] takes effect at the next comfy-supervisor up:\n" in said
        assert up.info().pid == pid

    def test_what_was_stopped_stays_stopped(self, service: Service) -> None:
        service.ok("up", "-d")
        service.ok("stop")
        starts = service.log().count("Device: cpu")
        service.settings(**ORIGIN)
        assert service.ok("apply").endswith("comfyui: started\ncomfyui: stays stopped\n")
        assert states(service) == {"comfyui": "STOPPED"}
        assert service.log().count("Device: cpu") == starts
        service.ok("start")
        service.wait_for_api()
        assert "https://example.org" in command(service)

    def test_a_refused_one_leaves_the_old_one(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        service.ok("up", "-d")
        pid, before = service.info().pid, service.conf.read_text()
        service.settings(**ORIGIN)
        monkeypatch.setattr(plan, "text", lambda configuration: text(configuration) + "[program:broken]\n")
        said = service.refused("apply")
        assert "supervisord refuses the new configuration, the old one is back: CANT_REREAD" in said
        assert (service.info().pid, service.conf.read_text()) == (pid, before)
        monkeypatch.undo()
        service.ok("apply")
        service.wait_for_api()
        assert "https://example.org" in command(service)

    def test_without_supervisord_it_is_ready_for_the_next_up(self, service: Service) -> None:
        service.ok("render")
        service.settings(**ORIGIN)
        assert service.ok("apply").endswith("supervisord isn't running; comfy-supervisor up starts it\n")
        assert "https://example.org" in service.conf.read_text()

    @pytest.mark.parametrize("verb", ["apply", "render"])
    def test_a_running_supervisord_is_not_lost_by_moving_its_socket(self, verb: str, up: Service) -> None:
        before = up.conf.read_text()
        up.settings(paths={"run": str(up.folder / "elsewhere")})
        said = up.refused(verb)
        assert f"answers at {up.state}/run/supervisor.sock, and the settings now mean " in said
        assert up.conf.read_text() == before

    def test_one_that_was_killed_in_the_middle_is_finished_by_the_next(self, service: Service) -> None:
        """As if it had died after taking the group out, before taking it in."""
        service.ok("up", "-d")
        service.settings(**ORIGIN)
        service.ok("render")
        assert service.rpc.stop_group("comfyui") is True
        assert service.rpc.remove_group("comfyui") is True
        assert states(service) == {"comfyui": "DOWN"}
        service.ok("apply")
        service.wait_for_api()
        assert "https://example.org" in command(service)


class TestRefusals:
    """What `up` refuses, and nothing is changed."""

    def test_an_interpreter_without_torch(self, up: Service) -> None:
        pid, before = up.info().pid, up.conf.read_text()
        up.settings(comfyui=without_torch(up))
        assert f'comfyui.python = "{up.folder}/no-torch": has no torch, ' in up.refused("apply")
        assert (up.info().pid, up.conf.read_text()) == (pid, before)

    def test_the_port_of_a_stranger(self, up: Service) -> None:
        pid, before = up.info().pid, up.conf.read_text()
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            port = stranger.getsockname()[1]
            up.settings(comfyui={"port": port})
            assert f"comfyui: port {port} is held by " in up.refused("apply")
        assert (up.info().pid, up.conf.read_text()) == (pid, before)

    def test_whoever_stays_stopped_needs_no_port(self, service: Service) -> None:
        service.ok("up", "-d")
        service.ok("stop")
        service.settings(**ORIGIN)
        with socket.create_server(("127.0.0.1", service.port)):
            assert "comfyui: stays stopped\n" in service.ok("apply")


class TestSeveral:
    @pytest.fixture
    def two(self, gpu_service: Service, nvml: Nvml) -> Service:
        """Give a service with one instance on each of two GPUs."""
        nvml.cards([Card(), Card()])
        self.configure(gpu_service)
        gpu_service.ok("up", "-d")
        return gpu_service

    def configure(self, service: Service, devices: Any = "all", **comfyui: Any) -> None:
        service.settings(gpu={"devices": devices}, comfyui=comfyui, paths={"output": str(service.folder / "output")})

    def test_of_a_group_whoever_was_stopped_stays_so(self, two: Service) -> None:
        two.ok("stop", "gpu1")
        starts = two.log("gpu1").count("Device: ")
        self.configure(two, cors_origin="https://example.org")
        said = two.ok("apply")
        assert "[program:gpu0] restarts:" in said
        assert "[program:gpu1] restarts:" in said
        assert "comfyui:gpu1: stays stopped" in said
        two.wait_for_api()
        assert states(two) == {"comfyui:gpu0": "RUNNING", "comfyui:gpu1": "STOPPED"}
        assert two.log("gpu1").count("Device: ") == starts
        assert "https://example.org" in command(two, "comfyui:gpu0")

    def test_ports_that_ours_hold_are_no_strangers(self, two: Service) -> None:
        """Each takes over the port of the one before it."""
        two.port += 1
        self.configure(two)
        two.ok("apply")
        assert [(row["port"], row["ready"]) for row in two.status()] == [(two.port, True), (two.port + 1, True)]

    def test_from_two_to_one_and_back(self, two: Service) -> None:
        self.configure(two, devices=[1])
        said = two.ok("apply")
        assert "[program:gpu0] ends:\n  is gone\n" in said
        two.wait_for_api()
        assert states(two) == {"comfyui": "RUNNING"}
        assert "--output-directory" not in command(two)
        self.configure(two)
        two.ok("apply")
        two.wait_for_api(two.port + 1)
        assert states(two) == {"comfyui:gpu0": "RUNNING", "comfyui:gpu1": "RUNNING"}

    def test_a_lost_card_takes_its_own_instance_out(self, two: Service, nvml: Nvml) -> None:
        nvml.fail("GPU_IS_LOST", "nvmlDeviceGetMemoryInfo", 1)
        nvml.fail("GPU_IS_LOST", "nvmlDeviceGetMemoryInfo_v2", 1)
        two.ok("apply")
        two.wait_for_api()
        wait_until(lambda: states(two) == {"comfyui:gpu0": "RUNNING"})


def test_up_in_the_foreground_follows_what_was_applied(service: Service) -> None:
    """It tells of the new port, not of the one that it began with."""
    up = service.start("up")
    up.wait_for("API ready")
    service.port = free_port()
    service.settings()
    service.ok("apply")
    up.wait_for(f"http://127.0.0.1:{service.port}")
    up.interrupt()
    assert up.end() == 130
