"""Where a fault strikes: a service with its jobs kept and everything scaled down, and the honest jobs in it."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.comfyui_server import STANDIN_FOLDER
from tests.faults.keeper import Keeper
from tests.faults.patient import sleeper
from tests.nvml import Nvml
from tests.support import make_program

_T = TypeVar("_T")
_NODES = Path(__file__).with_name("custom_nodes")
_POLL = 0.05
_CALM = ("IDLE", "BUSY")


class Ward(Keeper):
    """A service, and what is seen of it since a fault has struck."""

    chance: random.Random
    """Whatever a fault leaves to chance is drawn from it."""
    nvml: Nvml
    """The pretended GPUs of a ward that has them."""
    instances: tuple[str, ...] = ("cpu",)
    patience = 60.0
    """Seconds for a new life, or for the honest jobs."""
    main = b"standin/main.py"
    """How what it runs is known by its command line."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Make the folders; nothing is started."""
        super().__init__(environ, apart=True)
        self.output = self.folder / "output"
        self.output.mkdir()
        self.stack, self.afterwards = ExitStack(), ExitStack()
        self.run_folder = self.state / "run"
        self.struck, self.relieved = 0.0, 0.0
        self.comfyui: dict[str, Any] = {}
        self.complaints: list[str] = []

    def admit(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the settings; jobs are kept, and ComfyUI has nodes of an enemy's."""
        nodes = self.folder / "nodes.json"
        nodes.write_text(json.dumps({"enemy": {"custom_nodes": str(_NODES)}}))
        extra = ["--output-directory", str(self.output), "--extra-model-paths-config", str(nodes)]
        comfyui = {"extra_args": extra, **self.comfyui, **tables.get("comfyui", {})}
        jobs = {"extension": True, "replay": "always", **tables.get("jobs", {})}
        self.settings(**{**{name: dict(table) for name, table in tables.items()}, "comfyui": comfyui, "jobs": jobs})

    def close(self) -> None:
        """Bring all down, and then what only this ward had."""
        with self.afterwards:
            super().close()

    def during(self, context: AbstractContextManager[_T]) -> _T:
        """Enter a context that lasts until all is accounted for, unless it is left before by ``relieve``."""
        return self.stack.enter_context(context)

    def relieve(self) -> None:
        """End what lasts; only what answers from now on is ComfyUI."""
        self.stack.close()
        self.relieved = time.monotonic()

    def strike(self) -> None:
        """Note that it goes wrong now, and not already when that was prepared."""
        self.struck = self.relieved = time.monotonic()

    def check(self, holds: object, complaint: str) -> None:
        """Note what is not as it has to be, but goes on."""
        if not holds:
            self.complaints.append(complaint)

    def signalled(self, number: signal.Signals, program: str = "comfyui") -> int:
        """Send a program a signal; return its pid."""
        pid = self.pid(program)
        os.kill(pid, number)
        return pid

    def supervisor(self) -> int:
        """Return supervisord's pid as it has written it down; 0: there is none."""
        try:
            return int((self.run_folder / "supervisord.pid").read_text())
        except (OSError, ValueError):
            return 0

    def comfyuis(self) -> set[int]:
        """Return the processes that are ComfyUI, or about to be, as the kernel tells: asking wakes supervisord."""
        pid = self.supervisor()
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        except OSError:
            return set()
        return {int(child) for child in children if self.main in _command(child)}

    def is_answering(self) -> bool:
        """Tell whether the API answers soon."""
        try:
            return requests.get(f"{self.url}/prompt", timeout=1.0).ok
        except requests.RequestException:
            return False

    def queue_honest(self, name: str, lengths: tuple[float, ...]) -> list[str]:
        """Queue honest jobs, each of which leaves a picture of its name behind whenever it is done."""
        names = [f"{name}-{place}-" for place in range(len(lengths))]
        for seconds, prefix in zip(lengths, names, strict=True):
            self.submit(honest(self.waiting(seconds), prefix))
        return names

    def waiting(self, seconds: float) -> dict[str, Any]:
        """Return a job that takes so long."""
        return sleeper(seconds)

    def pictures(self, name: str) -> int:
        """Return how often a job has been done."""
        return pictures(self.output, name)

    def decided(self, began: float, instance: str) -> list[dict[str, Any]]:
        """Return what the listener has decided on an instance since a moment, seconds of CLOCK_MONOTONIC."""
        return [decision for decision in self.decisions(instance) if decision["now"] >= began]

    def detected(self, began: float, instances: tuple[str, ...]) -> float | None:
        """Return how many seconds after a moment the listener decided first that something is wrong."""
        found = [each for name in instances for each in self.decided(began, name)]
        times = [each["now"] for each in found if each["verdict"]["word"] not in _CALM]
        return min(times) - began if times else None

    def make_startable(self) -> None:
        """Have it run by an interpreter that does at each start what ``start_fault`` says; before it is admitted."""
        orders = f'export STANDIN_START="$(cat {self.folder}/start-fault 2>/dev/null)"'
        python = make_program(self.folder / "python", f'{orders}\nexec {self.python} "$@"')
        self.comfyui = {"directory": str(STANDIN_FOLDER), "python": str(python)}


def honest(job: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return a job that also leaves a picture whose name begins so."""
    image = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1}}
    save = {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}}
    return {**job, "2": image, "3": save}


def pictures(folder: Path, prefix: str) -> int:
    """Return how many pictures a job has left."""
    return len(list(folder.glob(f"{prefix}_*.png")))


class Watch:
    """Looks all the while, in a thread, for new processes and for their first answer."""

    def __init__(self, ward: Ward) -> None:
        """Begin to look."""
        self._ward = ward
        self._known = ward.comfyuis()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.lives: list[float] = []
        """When each new process was there, by CLOCK_MONOTONIC."""
        self.answered: float | None = None
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._ends.set()
        self._thread.join()

    def _look(self) -> None:
        since = 0.0
        while not self._ends.wait(_POLL):
            new = self._ward.comfyuis() - self._known
            self._known |= new
            self.lives += [time.monotonic()] * len(new)
            if since != self._ward.relieved:
                since, self.answered = self._ward.relieved, None
            if self.lives and self.answered is None and self._ward.is_answering():
                self.answered = time.monotonic()


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
