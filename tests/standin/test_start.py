"""How the stand-in starts, well and badly."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_supervisor.comfyui.find import find
from comfy_supervisor.comfyui.parser import prove, read
from comfy_supervisor.comfyui.releases import known, nearest
from comfy_supervisor.standin.main import without_authorities
from tests.comfyui_server import STANDIN_FOLDER, Server
from tests.support import wait_until

Start = Callable[..., Server]


def run(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, from a folder that has nothing to do with it."""
    return subprocess.run(
        [sys.executable, str(STANDIN_FOLDER / "main.py"), *flags],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_says_loudly_that_it_is_not_comfyui(start: Start) -> None:
    server = start("--log-stdout").until_ready()
    assert "stand-in, NOT ComfyUI" in server.log
    assert "no images are generated" in server.log
    assert "To see the GUI" not in server.log
    assert "NOT ComfyUI" in server.session.get(server.url, timeout=30).text


@pytest.mark.parametrize("release", list(known()))
def test_it_takes_the_command_line_of_every_release(release: str, tmp_path: Path) -> None:
    flags = ("--quick-test-for-ci", "--temp-directory", str(tmp_path), "--lowvram")
    ended = run(*flags, STANDIN_RELEASE=release, HOME=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert f"ComfyUI version: {release}" in ended.stderr


def test_a_flag_that_the_release_does_not_have_is_refused() -> None:
    assert run("--normalvram", "--quick-test-for-ci", STANDIN_RELEASE="0.3.64").returncode == 0
    assert run("--normalvram", "--quick-test-for-ci", STANDIN_RELEASE="0.22.0").returncode == 2


def test_a_bad_command_line_is_refused_before_the_server_is_imported() -> None:
    command = [sys.executable, "-X", "importtime", str(STANDIN_FOLDER / "main.py"), "--nonsense"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert re.search(r"\| +argparse\n", ended.stderr)
    assert "aiohttp" not in ended.stderr


def test_bare_listen_means_every_address(start: Start) -> None:
    server = start("--listen").until_ready()
    wait_until(lambda: "http://[::]:" in server.log)
    assert f"http://0.0.0.0:{server.port}" in server.log


def test_bare_cors_lets_every_page_in(start: Start) -> None:
    server = start("--enable-cors-header").until_ready()
    answer = server.session.get(f"{server.url}/prompt", headers={"Origin": "http://a.example"}, timeout=30)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")


@pytest.mark.parametrize("release", list(known()))
def test_it_is_a_comfyui_to_who_asks_for_its_parser(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_RELEASE", release)
    found = find("standin")
    command_line = read(found)
    assert set(command_line.options) == set(nearest(release).options)
    assert prove(found, [["--cpu"], ["--nonsense"]]) == ("", "unrecognized arguments: --nonsense")


def test_a_slow_start_shows_in_the_log(start: Start) -> None:
    server = start(faults="slow:1.5")
    wait_until(lambda: "Importing a custom node" in server.log)
    assert "Starting server" not in server.log
    server.until_ready()
    assert server.log.count("Importing a custom node") > 1


def test_a_silent_start_does_not_show_in_the_log(start: Start) -> None:
    started = time.monotonic()
    server = start(faults="silent:1.5")
    wait_until(lambda: "Device:" in server.log)
    said = server.log
    time.sleep(0.3)
    assert server.log == said
    server.until_ready()
    assert time.monotonic() - started > 1.5


@pytest.mark.parametrize(("faults", "code"), [("end:3", 3), ("end", 1), ("abort", -signal.SIGABRT)])
def test_it_ends_instead_of_starting(start: Start, faults: str, code: int) -> None:
    server = start(faults=faults)
    assert server.until_ended() == code
    assert "Starting server" not in server.log


def test_it_ends_a_while_after_the_start(start: Start) -> None:
    """On a machine that is busy enough, before it is ready."""
    started = time.monotonic()
    assert start(faults="end_after:3").until_ended() == 1
    assert time.monotonic() - started >= 3


def test_several_faults_at_once(start: Start) -> None:
    server = start(faults="ignore_sigint, slow:0.1").until_ready()
    server.process.send_signal(signal.SIGINT)
    assert server.get("/prompt")


@pytest.mark.parametrize(
    ("cpu", "faults", "device"), [(True, "", "cpu"), (False, "", "cuda"), (False, "cpu_fallback", "cpu")]
)
def test_the_device_that_it_reports(start: Start, cpu: bool, faults: str, device: str) -> None:
    assert start(cpu=cpu, faults=faults).until_ready().get("/system_stats")["devices"][0]["type"] == device


def test_an_unknown_fault_is_refused() -> None:
    ended = run(STANDIN_START="slow:1,nonsense")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith('main.py: error: STANDIN_START="slow:1,nonsense": nonsense')


def test_no_certificate_authorities_are_read_and_the_environment_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/some/authorities.pem")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    before = dict(os.environ)
    with without_authorities():
        assert ssl.create_default_context().cert_store_stats()["x509"] == 0
    assert dict(os.environ) == before
