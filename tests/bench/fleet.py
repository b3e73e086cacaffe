"""A service with a stand-in, or less, for each of some pretended GPUs, each found well."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.cli.service import Service
from tests.comfyui.test_torch import fake_torch
from tests.comfyui_server import STANDIN_FOLDER
from tests.nvml import Nvml, compile_library
from tests.support import free_port, make_program, wait_until

CARD = "NVIDIA GeForce RTX 4090"


@contextmanager
def fleet(instances: int, *, is_cheap: bool = False, **tables: dict[str, Any]) -> Iterator[Service]:
    """Give a service with so many instances, these settings added to its own; it comes down afterwards."""
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-bench-") as folder:
        machine = Path(folder, "machine")
        machine.mkdir()
        nvml = Nvml(compile_library(Path(folder)), machine)
        nvml.cards([CARD] * instances)
        service = Service(nvml.environ, apart=True)
        try:
            service.port = free_port(instances)
            if is_cheap:
                tables = {**tables, "comfyui": {**cheap(Path(folder, "cheap")), "port": service.port}}
            service.settings(**{**tables, "gpu": {"devices": "all"}})
            service.ok("up", "-d")
            wait_for(service, instances, "IDLE")
            yield service
        finally:
            service.close()


def cheap(folder: Path) -> dict[str, str]:
    """Make a ComfyUI that only answers what is asked while it idles; return the settings that mean it."""
    folder.mkdir()
    for name in ("comfy", "comfyui_version.py"):
        (folder / name).symlink_to(STANDIN_FOLDER / name)
    (folder / "main.py").symlink_to(Path(__file__).with_name("cheap.py"))
    fake_torch(folder)
    python = make_program(folder / "python", f'PYTHONPATH={folder} exec {sys.executable} "$@"')
    return {"directory": str(folder), "python": str(python)}


def wait_for(service: Service, instances: int, *wanted: str) -> None:
    """Wait until the listener finds every instance in one of these ways."""
    wait_until(lambda: _are(service, instances, wanted), 180.0 + 10 * instances, f"{wanted}: {words(service)}")


def words(service: Service) -> list[str]:
    """Return how the listener finds each instance."""
    return [json.loads(file.read_text())["word"] for file in service.state.glob("gpu*/status.json")]


def keepers(service: Service) -> tuple[psutil.Process, psutil.Process]:
    """Return the listener and its GPU helper; raises psutil.Error or ValueError while there are not both."""
    listener = psutil.Process(service.info("comfyui-health").pid)
    (helper,) = listener.children()
    return listener, helper


def _are(service: Service, instances: int, wanted: tuple[str, ...]) -> bool:
    found = words(service)
    return len(found) == instances and set(found) <= set(wanted)
