"""Users of the command line, with folders and processes of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.service import Service
from tests.nvml import Nvml


@pytest.fixture
def service() -> Iterator[Service]:
    """Give a service that isn't up yet, and leave nothing of it behind."""
    service = Service()
    yield service
    service.close()


@pytest.fixture
def apart() -> Iterator[Service]:
    """Give a service whose commands each run in a process of their own."""
    service = Service(apart=True)
    yield service
    service.close()


@pytest.fixture
def gpu_service(nvml: Nvml) -> Iterator[Service]:
    """Give a service on a machine whose GPUs the test chooses through ``nvml``."""
    service = Service(nvml.environ)
    service.settings(gpu={"devices": "auto"})
    yield service
    service.close()


@pytest.fixture(scope="session")
def running() -> Iterator[Service]:
    """Give one service that is up for all tests of the session."""
    service = Service()
    try:
        service.ok("up", "-d")
        yield service
    finally:
        service.close()


@pytest.fixture
def up(running: Service) -> Service:
    """Give a service that is up, for tests that leave it so."""
    running.settings()
    running.wait_for_api()
    return running
