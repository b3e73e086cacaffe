"""Running stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.comfyui_server import Server, standin
from tests.support import wait_until

RELEASE = "0.33.0"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One process for all tests that do it no lasting harm."""
    server = Server(standin(RELEASE), tmp_path_factory.mktemp("standin"))
    try:
        yield server.until_ready()
    finally:
        server.stop()


@pytest.fixture
def server(shared: Server) -> Server:
    """The shared stand-in, without faults and jobs."""
    shared.order("recover")
    shared.post("/queue", {"clear": True})
    shared.post("/interrupt", {})
    wait_until(lambda: shared.remaining() == 0, what="jobs of the test before")
    return shared


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a process of one's own, with further flags and STANDIN_START."""
    servers: list[Server] = []

    def start_one(*flags: str, faults: str = "", cpu: bool = True) -> Server:
        folder, environment = tmp_path / str(len(servers)), {"STANDIN_START": faults}
        servers.append(Server(standin(RELEASE), folder, *flags, cpu=cpu, environment=environment))
        return servers[-1]

    yield start_one
    for one in servers:
        one.stop()
