"""The ComfyUIs that have to behave alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.comfyui_server import Kind, Server, image_job, real, sleep_job, standin
from tests.support import wait_until

STANDINS = ("0.3.64", "0.33.0")
"""The releases that the stand-in is tested as."""


def kinds() -> list[Kind]:
    """Return the stand-in as two releases, and the real one that the environment names, if it names one."""
    folder = os.environ.get("COMFYUI_DIR")
    python = os.environ.get("COMFYUI_PYTHON") or f"{folder}/venv/bin/python"
    return [*map(standin, STANDINS), *([real(Path(folder), python)] if folder else [])]


@pytest.fixture(scope="session", params=kinds(), ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Which ComfyUI."""
    chosen: Kind = request.param
    return chosen


@pytest.fixture(scope="session")
def running(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, float]]:
    """One process for all tests, and the number that its first job got."""
    server = Server(kind, tmp_path_factory.mktemp("comfyui"))
    try:
        first = server.until_ready().post("/prompt", {"prompt": image_job()}).json()
        yield server, first["number"]
    finally:
        server.stop()


@pytest.fixture
def comfyui(running: tuple[Server, float]) -> Server:
    """The running ComfyUI, without jobs, history or cache."""
    server, _ = running
    server.post("/queue", {"clear": True})
    server.post("/interrupt", {})
    wait_until(lambda: server.remaining() == 0, what="jobs of the test before")
    server.post("/free", {"free_memory": True, "unload_models": True})
    server.finished(server.submit(sleep_job(0)))  # memory is freed between two jobs
    server.post("/history", {"clear": True})
    return server


@pytest.fixture
def start(kind: Kind, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a process of one's own, with further flags and environment."""
    servers: list[Server] = []

    def start_one(*flags: str, port: int | None = None, **environment: str) -> Server:
        servers.append(Server(kind, tmp_path / str(len(servers)), *flags, port=port, environment=environment))
        return servers[-1]

    yield start_one
    for server in servers:
        server.stop()
