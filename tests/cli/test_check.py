"""``comfy-supervisor check``: each item, measured on a service that runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import requests

from comfy_supervisor.check import latency
from tests.cli.service import DEADLINE, Service
from tests.comfyui_server import fail_job, image_job, sleep_job
from tests.nvml import Card, Nvml
from tests.support import free_port, make_program, needs_comfyui, wait_until

Lines = dict[str, dict[str, Any]]


def check(
    service: Service, *words: str, systemctl: str = "echo enabled", program: str = "comfyui"
) -> tuple[int, Lines]:
    """Return the exit code and the lines on a program and on the service, where systemctl is a script."""
    folder = make_program(service.folder / "systemd" / "systemctl", systemctl).parent
    done = service.run("check", "--json", *words, PATH=f"{folder}:{os.environ['PATH']}")
    assert done.returncode in (0, 1), done
    lines = json.loads(done.stdout)
    return done.returncode, {line["item"]: line for line in lines if line["program"] in (None, program)}


def failing(lines: Lines) -> set[str]:
    return {item for item, line in lines.items() if line["verdict"] == "fails"}


def workflow(service: Service, graph: object) -> str:
    file = service.folder / "workflow.json"
    file.write_text(json.dumps(graph))
    return str(file)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an answer take long: the machine that runs the tests may be busy."""
    monkeypatch.setattr(latency, "LIMIT", 10.0)


@pytest.fixture
def looked_at(up: Service) -> Service:
    """Give a service that its health listener has looked at."""
    wait_until(lambda: up.status()[0]["health"], what="the listener looks")
    return up


class TestItems:
    def test_all_hold(self, looked_at: Service) -> None:
        code, lines = check(looked_at)
        assert {item: line["verdict"] for item, line in lines.items()} == dict.fromkeys(
            ("boot", "cuda", "api", "restart", "logs", "backend"), "holds"
        )
        assert code == 0

    def test_what_is_measured_is_told(self, looked_at: Service) -> None:
        _, lines = check(looked_at)
        for path in ("/prompt", "/queue", "/system_stats"):
            figures = lines["api"]["figures"][path]
            assert figures["requests"] == 25
            assert 0 < figures["p50_ms"] <= figures["p95_ms"]
        assert lines["restart"]["figures"]["looked_seconds_ago"] < 90
        assert lines["logs"]["figures"]["rotated_at_bytes"] == 50 * 1024 * 1024
        assert lines["backend"]["figures"]["post_status"] == 400

    def test_a_person_reads_a_line_an_item(self, looked_at: Service) -> None:
        text = looked_at.run("check").stdout
        signs = [line[0] for line in text.splitlines() if line[:1] in ("✓", "✗")]
        assert len(signs) == 6
        assert f"{signs.count('✓')} of 6 hold" in text

    def test_nothing_is_queued_by_it(self, looked_at: Service) -> None:
        before = looked_at.ok("jobs", "--json")
        check(looked_at)
        assert looked_at.ok("jobs", "--json") == before

    def test_a_unit_that_is_not_enabled(self, up: Service) -> None:
        code, lines = check(up, systemctl="echo disabled; exit 1")
        assert (code, failing(lines)) == (1, {"boot"})
        assert lines["boot"]["found"] == "comfyui-headless.service is disabled"

    def test_no_unit_at_all(self, up: Service) -> None:
        _, lines = check(up, systemctl="echo no such file >&2; exit 1")
        assert "boot" in failing(lines)
        assert lines["boot"]["mend"] == "sudo comfy-supervisor service install"

    def test_an_api_that_is_slow(self, up: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """Any is, by this measure."""
        monkeypatch.setattr(latency, "LIMIT", 0.0)
        code, lines = check(up)
        assert code == 1
        assert "api" in failing(lines)

    def test_maintenance_is_no_watch(self, looked_at: Service) -> None:
        looked_at.ok("maintenance", "on")
        try:
            wait_until(lambda: "restart" in failing(check(looked_at)[1]), what="the listener has heard")
        finally:
            looked_at.ok("maintenance", "off")
            wait_until(lambda: "restart" not in failing(check(looked_at)[1]), what="the listener has heard that, too")

    def test_settings_that_were_not_applied(self, up: Service) -> None:
        up.settings(comfyui={"port": free_port()})
        _, lines = check(up)
        assert "backend" in failing(lines)
        assert lines["backend"]["mend"] == "comfy-supervisor apply"

    def test_the_cpu_is_wrong_unless_the_settings_say_so(self, up: Service) -> None:
        up.settings(gpu={"devices": "auto"})
        assert "cuda" in failing(check(up)[1])


class TestNotRunning:
    def test_one_that_was_stopped(self, service: Service) -> None:
        service.ok("up", "-d")
        service.ok("stop")
        code, lines = check(service)
        assert code == 1
        assert failing(lines) >= {"cuda", "api", "restart", "backend"}
        assert "STOPPED" in lines["restart"]["found"]
        service.ok("down")
        lines = check(service)[1]
        assert "supervisord isn't running; comfy-supervisor up starts it" in lines["restart"]["found"]
        assert not lines["restart"]["mend"], "to start what has no supervisord would be refused"
        assert lines["logs"]["verdict"] == "holds"
        assert lines["backend"]["mend"] == "comfy-supervisor status, logs"

    def test_nothing_is_rendered(self, service: Service) -> None:
        assert "nothing is rendered yet" in service.refused("check")


class TestGeneration:
    def test_its_time_is_told(self, up: Service) -> None:
        _, lines = check(up, "--workflow", workflow(up, {"prompt": image_job(colour=1)}))
        line = lines["generation"]
        assert line["verdict"] == "holds"
        assert 0 < line["figures"]["seconds"] < 60
        assert line["figures"]["nodes"] == 2

    def test_what_comes_from_the_cache_proves_nothing(self, up: Service) -> None:
        file = workflow(up, image_job(colour=2))
        check(up, "--workflow", file)
        code, lines = check(up, "--workflow", file)
        assert (code, lines["generation"]["verdict"]) == (0, "unknown")

    def test_one_that_fails_says_why(self, up: Service) -> None:
        code, lines = check(up, "--workflow", workflow(up, fail_job()))
        assert (code, failing(lines)) == (1, {"generation"})
        assert "failed: StandinFail: " in lines["generation"]["found"]

    def test_one_that_is_refused_says_why(self, up: Service) -> None:
        _, lines = check(up, "--workflow", workflow(up, {"1": {"class_type": "NoSuchNode", "inputs": {}}}))
        assert "was not taken: " in lines["generation"]["found"]
        assert "NoSuchNode" in lines["generation"]["found"]

    def test_one_that_nobody_hears_says_so_in_one_line(self, up: Service) -> None:
        up.ok("stop")
        _, lines = check(up, "--workflow", workflow(up, image_job(colour=3)))
        up.ok("start")
        up.wait_for_api()
        assert lines["generation"]["found"] == "was not taken: connection refused"

    def test_other_jobs_are_not_disturbed_unless_that_is_meant(self, up: Service) -> None:
        """Even then all others come first."""
        other, next_one = up.submit(sleep_job(1)), up.submit(sleep_job(2))
        file = workflow(up, image_job(colour=4))
        assert "comfyui: 2 jobs run or wait" in up.refused("check", "--workflow", file)
        _, lines = check(up, "--workflow", file, "--anyway")
        assert lines["generation"]["verdict"] == "holds"
        assert all(requests.get(f"{up.url}/history/{job}", timeout=30).json() for job in (other, next_one))

    def test_one_that_takes_too_long_is_taken_back(self, up: Service) -> None:
        _, lines = check(up, "--workflow", workflow(up, sleep_job(60)), "--timeout", "1")
        assert "has not ended within 1 s, and was taken back" in lines["generation"]["found"]
        wait_until(lambda: requests.get(f"{up.url}/prompt", timeout=30).json()["exec_info"]["queue_remaining"] == 0)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("{", "is no JSON"),
            ('{"nodes": [], "links": []}', "Export (API)"),
            ("[1]", "is no workflow in API format"),
            ('{"1": {"class_type": "A"}}', "is no workflow in API format"),
        ],
    )
    def test_what_is_no_workflow_is_refused(self, content: str, said: str, up: Service) -> None:
        file = up.folder / "wrong.json"
        file.write_text(content)
        refused = up.refused("check", "--workflow", str(file))
        assert f"{file}: " in refused
        assert said in refused

    def test_a_file_that_is_not_there(self, up: Service) -> None:
        assert "nowhere.json: No such file" in up.refused("check", "--workflow", "nowhere.json")


class TestProof:
    def test_it_is_killed_and_comes_back(self, service: Service) -> None:
        service.ok("up", "-d")
        pid = service.pid()
        _, lines = check(service, "--prove")
        assert lines["recovery"]["verdict"] == "holds"
        assert lines["recovery"]["figures"]["seconds"] > 0
        assert service.pid() != pid
        assert service.answers()

    def test_one_with_jobs_is_not_killed(self, up: Service) -> None:
        job = up.submit(sleep_job(1))
        pid = up.pid()
        assert "--prove kills it" in up.refused("check", "--prove", "--anyway")
        assert up.finished(job)["status"]["status_str"] == "success"
        assert up.pid() == pid


class TestGpus:
    @pytest.fixture
    def two(self, gpu_service: Service, nvml: Nvml) -> Service:
        """Give two instances on two GPUs, one of which is used more."""
        nvml.cards((Card(used_mib=1000), Card(used_mib=2000)))
        gpu_service.settings(gpu={"devices": "all"})
        gpu_service.ok("up", "-d")
        return gpu_service

    def test_each_instance_has_lines_and_the_vram_of_its_gpu_by_nvml(self, two: Service) -> None:
        file = workflow(two, image_job())
        for program, used in (("comfyui:gpu0", 1000), ("comfyui:gpu1", 2000)):
            _, lines = check(two, "--workflow", file, program=program)
            assert {"cuda", "api", "restart", "logs", "backend", "generation"} <= lines.keys()
            assert lines["generation"]["figures"]["vram_source"] == "NVML"
            assert lines["generation"]["figures"]["peak_vram_mib"] == used

    def test_the_stand_in_is_no_cuda(self, two: Service) -> None:
        _, lines = check(two, program="comfyui:gpu0")
        assert "the stand-in runs, not ComfyUI" in lines["cuda"]["found"]


@needs_comfyui
def test_a_real_comfyui(apart: Service) -> None:
    folders = {name: apart.folder / name for name in ("input", "output", "user")}
    for folder in folders.values():
        folder.mkdir()
    extra = [word for name, folder in folders.items() for word in (f"--{name}-directory", str(folder))]
    extra += ["--temp-directory", str(apart.folder), "--database-url", f"sqlite:///{apart.folder}/comfyui.db"]
    python = os.environ.get("COMFYUI_PYTHON", "")
    apart.settings(comfyui={"directory": os.environ["COMFYUI_DIR"], "python": python, "extra_args": extra})
    apart.ok("up", "-d")
    wait_until(lambda: apart.status()[0]["health"], DEADLINE, "the listener looks")
    _, lines = check(apart, "--prove", "--workflow", workflow(apart, image_job(prefix="checked")))
    assert failing(lines) <= {"api"}, lines  # the machine may be busy
    assert lines["cuda"]["figures"]["type"] == "cpu"
    assert lines["generation"]["figures"]["executed_seconds"] is not None
    assert list(Path(folders["output"]).glob("checked*.png"))
