"""``comfy-supervisor doctor``, as its user sees it."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
from typing import Any

import pytest

from tests.cli.service import Service
from tests.nvml import Nvml


def as_json(service: Service, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code and the findings."""
    done = service.run("doctor", "--json", *arguments)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def problems(findings: list[dict[str, Any]]) -> list[str]:
    return [finding["check"] for finding in findings if finding["verdict"] == "problem"]


def on_a_terminal(service: Service, **environ: str) -> str:
    """Return all that ``doctor`` writes to a terminal."""
    master, slave = pty.openpty()
    command = [str(service.python), "-m", "comfy_supervisor", "doctor"]
    with subprocess.Popen(
        command, cwd=service.folder, env={**service.environ, **environ}, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        written = b""
        try:
            while chunk := os.read(master, 65536):
                written += chunk
        except OSError:
            pass  # the terminal's other end is closed: it has ended
    os.close(master)
    assert process.returncode == 0
    return written.decode()


def test_nothing_in_the_way(service: Service) -> None:
    code, findings = as_json(service)
    assert (code, problems(findings)) == (0, [])
    assert all(list(finding) == ["check", "verdict", "found", "wanted", "mend"] for finding in findings)


def test_something_in_the_way(service: Service) -> None:
    with socket.create_server(("127.0.0.1", service.port)):
        code, findings = as_json(service)
        done = service.run("doctor")
    assert (code, problems(findings)) == (1, ["port"])
    assert done.returncode == 1
    assert f"problem  port           port {service.port} is held by" in done.stdout
    assert "\n                        mend: stop that, or set comfyui.port\n" in done.stdout
    assert "\n1 problem, " in done.stdout


def test_no_comfyui(service: Service) -> None:
    service.settings(comfyui={"directory": str(service.folder / "nowhere")})
    code, findings = as_json(service)
    assert (code, problems(findings)) == (1, ["comfyui"])


def test_settings_that_are_wrong_are_all_told_and_hide_nothing(service: Service) -> None:
    service.settings(comfyui={"port": 99999, "prot": 1})
    code, findings = as_json(service)
    assert (code, problems(findings)) == (1, ["settings", "settings"])
    assert "disk" in [finding["check"] for finding in findings]


def test_file_that_is_not_there(service: Service) -> None:
    code, findings = as_json(service, "-c", "missing.toml")
    assert code == 1
    assert problems(findings)[0] == "settings"


def test_running_service_is_healthy(service: Service) -> None:
    """Its own port, socket and folders are in nobody's way."""
    service.ok("up", "-d")
    code, findings = as_json(service)
    assert (code, problems(findings)) == (0, [])
    found = {finding["check"]: finding["found"] for finding in findings}
    assert found["supervisord"] == f"runs (pid {service.supervisord_pid()})"
    assert "up to date" in found["configuration"]
    assert found["port"].endswith("which is comfyui")


def test_nothing_is_changed(service: Service) -> None:
    before = sorted(service.folder.rglob("*"))
    service.run("doctor")
    assert [path for path in sorted(service.folder.rglob("*")) if path not in before] == []


def test_driver_in_trouble(nvml: Nvml, gpu_service: Service) -> None:
    nvml.cards(["NVIDIA GeForce RTX 4090"])
    nvml.fail("DRIVER_NOT_LOADED")
    code, findings = as_json(gpu_service)
    assert (code, problems(findings)) == (1, ["driver"])


class TestLayout:
    """Readable in 80 columns, and plain where nobody looks."""

    def test_plain_text(self, service: Service) -> None:
        lines = service.ok("doctor").splitlines()
        assert all(len(line) <= 80 or " " not in line.strip() for line in lines)
        assert "\x1b" not in "".join(lines)
        assert {line.split()[0] for line in lines if line and not line.startswith(" ")} >= {"ok", "warning"}

    def test_what_is_wanted_is_told_only_where_it_is_not_so(self, service: Service) -> None:
        verdict, told = "", []
        for line in service.ok("doctor").splitlines():
            verdict = line.split()[0] if line.strip() and not line.startswith(" ") else verdict
            if line.strip().startswith(("wanted: ", "mend: ")):
                told.append(verdict)
        assert set(told) == {"warning"}

    @pytest.mark.parametrize("columns", [80, 100])
    def test_terminal(self, service: Service, columns: int) -> None:
        """In colour, as wide as it is, after a word that it takes a while, which is taken back."""
        written = on_a_terminal(service, TERM="xterm", COLUMNS=str(columns))
        hint, _, rest = written.partition("\r\x1b[K")
        assert hint.startswith("looking")
        assert "\x1b[32mok" in rest
        longest = max(len(line) for line in rest.replace("\x1b[", "").splitlines() if "/" not in line)
        assert columns - 30 < longest <= columns + len("32m0m")
