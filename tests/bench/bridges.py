"""ComfyUIs side by side, with the extension and without it, their journals on a disk; and jobs for them."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

import comfy_supervisor
from tests.comfyui_server import Kind, Server, real, standin

RELEASE = "0.33.0"
"""That the stand-in imitates."""
LONG = 3600.0
"""Seconds that nobody waits for the end of."""
_EXTENSION = Path(comfy_supervisor.__file__).with_name("extension")
_NODES = Path(__file__).with_name("custom_nodes")
_DISK = "/var/tmp"  # what lies there outlives a restart of the machine: it is no memory
_WRITES = 100

Graph = dict[str, Any]


def kinds() -> list[Kind]:
    """Return the stand-in, and the real ComfyUI that the environment names, if any."""
    folder = os.environ.get("COMFYUI_DIR")
    python = os.environ.get("COMFYUI_PYTHON") or f"{folder}/venv/bin/python"
    return [standin(RELEASE), *([real(Path(folder), python)] if folder else [])]


def whose(kind: Kind) -> str:
    """Name a kind as the tables do."""
    return f"ComfyUI {kind.release.version} --cpu" if kind.real else "the stand-in"


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder on a disk."""
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-bench-", dir=_DISK) as name:
        yield Path(name)


@contextmanager
def servers(kind: Kind, *extended: bool) -> Iterator[list[Server]]:
    """Give ComfyUIs that answer, each with the extension or without it."""
    with folder() as home, ExitStack() as stack:
        started = []
        for place, has_extension in enumerate(extended):
            started.append(_start(kind, home / str(place), has_extension))
            stack.callback(started[-1].stop)
        yield [server.until_ready() for server in started]


def _start(kind: Kind, home: Path, has_extension: bool) -> Server:
    home.mkdir()
    config = {"bench": {"custom_nodes": str(_NODES)}, "ours": {"custom_nodes": str(_EXTENSION)}}
    if not has_extension:
        del config["ours"]
    file = home / "paths.yaml"
    file.write_text(json.dumps(config))
    told = {f"COMFY_SUPERVISOR_{name}": str(home) for name in ("STATE", "RUN")}
    return Server(kind, home / "comfyui", "--extra-model-paths-config", str(file), environment=told)


def sleeper(seconds: float, steps: int) -> Graph:
    """Return a job that takes a while, with progress."""
    return {"1": {"class_type": "StandinSleep", "inputs": {"seconds": seconds, "steps": steps}}}


def large() -> Graph:
    """Return a graph of a hundred nodes, 33 kB."""
    image = {"width": 16, "height": 16, "batch_size": 1, "color": 0}
    nodes: Graph = {"0": {"class_type": "EmptyImage", "inputs": image}}
    for node in range(1, 100):
        inputs = {"images": ["0", 0], "filename_prefix": f"{node:0250}"}
        nodes[str(node)] = {"class_type": "SaveImage", "inputs": inputs}
    return nodes


def disk() -> str:
    """Return on what the journals lie, and what it takes to write a page through to it, in a few words."""
    mounts = [each for each in psutil.disk_partitions(all=True) if Path(_DISK).is_relative_to(each.mountpoint)]
    kind = max(mounts, key=lambda each: len(each.mountpoint)).fstype
    with tempfile.TemporaryFile(dir=_DISK) as file:
        times = sorted(_write_through(file.fileno()) for _ in range(_WRITES))
    return f"{kind}, 4 KiB written through in {milliseconds(statistics.median(times))}"


def _write_through(descriptor: int) -> float:
    began = time.perf_counter()
    os.write(descriptor, bytes(4096))
    os.fsync(descriptor)
    return time.perf_counter() - began


def milliseconds(seconds: float) -> str:
    """Return a time as the tables show it."""
    return f"{seconds * 1e3:.1f} ms"


def percentile(seconds: Sequence[float], percent: int) -> float:
    """Return what so many of them are below of."""
    return statistics.quantiles(seconds, n=100)[percent - 1]


def verdict(holds: bool) -> str:
    """Return whether a bound holds, as the tables show it."""
    return "yes" if holds else "**no**"
