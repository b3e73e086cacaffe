"""What several faults are made of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.nvml import Nvml, compile_library
from tests.proof.faults.ward import Ward

SOON = 30.0


def ordered(do: str, **options: Any) -> Callable[[Ward], None]:
    """Return a cause that is an order to the stand-in."""
    return lambda ward: ward.order(do, **options)


def borne(ward: Ward, seconds: float) -> None:
    """See for so long that nobody ends ComfyUI; complain if somebody does."""
    before, end = ward.comfyuis(), time.monotonic() + seconds
    while time.monotonic() < end:
        if ward.comfyuis() != before:
            ward.check(False, f"its process changed within {seconds:g} s")
            return
        time.sleep(0.1)


def is_still_cared_for(ward: Ward, program: str = "comfyui", instance: str = "cpu") -> None:
    """Stop ComfyUI by a signal, as proof that it is still looked after: R."""
    pid = ward.signalled(signal.SIGSTOP, program)
    ward.wait_for_next_life(pid, program)
    ward.wait_for(lambda: ward.word(instance) == "IDLE" or ward.word(instance) == "BUSY", what="well again")


def with_gpus(count: int) -> Callable[[Ward], None]:
    """Return what gives a ward so many GPUs, pretended by a compiled stand-in for NVIDIA's library."""

    def prepare(ward: Ward) -> None:
        machine = ward.folder / "machine"
        machine.mkdir()
        ward.nvml = Nvml(compile_library(ward.folder), machine)
        ward.nvml.cards(["NVIDIA GeForce RTX 4090"] * count)
        ward.environ.update(ward.nvml.environ)
        ward.with_ports(4)
        ward.url = f"http://127.0.0.1:{ward.port}"
        ward.instances = tuple(f"gpu{index}" for index in range(count))
        ward.instance = ward.instances[0]

    return prepare


def small_disk(ward: Ward) -> Path:
    """Return a folder on a disk of a megabyte, which goes with the ward."""
    folder = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", folder]
    ward.afterwards.callback(os.rmdir, folder)
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise NotHereError("needs to mount a small disk, which only root may, and not in every container")
    ward.afterwards.callback(subprocess.run, ["umount", "-l", folder], check=True)
    return Path(folder)


class NotHereError(Exception):
    """It can't be caused on this machine; the text says why."""


@contextmanager
def kept_replacing(make: Callable[[], None]) -> Iterator[None]:
    """Put something in a file's place again and again, whoever else writes there."""
    ends = threading.Event()

    def put() -> None:
        while not ends.wait(0.05):
            make()

    thread = threading.Thread(target=put, daemon=True)
    thread.start()
    yield
    ends.set()
    thread.join()


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """Return a job of one node."""
    return {"1": {"class_type": kind, "inputs": inputs}}


def enemy(code: int) -> dict[str, Any]:
    """Return a job whose node does what custom_nodes/enemy.py has by this number."""
    return node("StandinCrash", how="exit", code=code)


def text_of(file: Path) -> str:
    """Return a file's text, empty where there is none."""
    return file.read_text(errors="replace") if file.exists() else ""


def json_of(file: Path) -> Any:
    """Return a file's JSON."""
    return json.loads(file.read_text())
