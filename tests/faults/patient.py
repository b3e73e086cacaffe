"""A service under the health listener's eyes, with everything scaled down, and what a fault test asks of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.cli.service import Service
from tests.comfyui_server import STANDIN_FOLDER
from tests.support import free_port, make_program, wait_until

HEALTH = {
    "probe_every": 0.3,
    "suspect_every": 0.2,
    "deadline": 1.0,
    "start_grace": 20.0,
    "start_quiet": 3.0,
    "quiet": 2.5,
    "patience": 30.0,
    "active_window": 1.5,
    "frozen": 1.0,
    "paused": 2.0,
}
STALL = {"after": 3.0, "api_after": 12.0, "interrupt_wait": 1.0, "alert_after": 4.0}
RESTART = {"stop_seconds": 2, "first_delay": 1, "longest_delay": 2, "healthy_after": 60, "retry_after": 10}
"""A tenth and less of the defaults; all else is as an operator has it."""
JOBS = {"extension": False, "replay": "never"}
"""What ComfyUI dies of is not to come back, and shows itself from outside alone: test_jobs has the rest."""

MAIN_PROGRAM = "comfy_supervisor.eventlisteners.comfyui_health"
ENDS = ("restart", "kill")
_NODES = Path(__file__).with_name("custom_nodes")
_TRACER = Path(__file__).with_name("tracer.py")


class Patient(Service):
    """ComfyUI (or the stand-in), supervisord and the health listener, as rendered."""

    instance = "cpu"
    """The one that is meant where a test names none."""
    _past = 0
    """How many decisions are of earlier tests."""

    def with_ports(self, count: int) -> Patient:
        """Choose a port that has so many free ones in a row, it being the first; for several instances."""
        self.port = free_port(count)
        return self

    def anew(self) -> None:
        """Make it well again, without a fault, a job or anything counted or alerted; what was decided is past."""
        if self.answers():
            self.order("recover")
        self.renew()

    def renew(self) -> None:
        """Do the same to what takes no orders: a real ComfyUI."""
        if self.answers():
            requests.post(f"{self.url}/queue", json={"clear": True}, timeout=10)
            requests.post(f"{self.url}/interrupt", json={}, timeout=10)
        spoilt = self.alerts() or self.word() != "IDLE" or not self.answers()
        self.ok(*(["restart"] if spoilt else ["reset", "comfyui"]))
        self.wait_for(self.is_well, what="well again")
        self._past += len(self.decisions())

    def settings(self, **tables: dict[str, Any]) -> None:
        """Write the settings file, the scaled-down numbers under those that are given."""
        scaled: Mapping[str, dict[str, Any]] = {"health": HEALTH, "stall": STALL, "restart": RESTART, "jobs": JOBS}
        merged = {table: {**values, **tables.get(table, {})} for table, values in scaled.items()}
        super().settings(**{**tables, **merged})

    def real_comfyui(self) -> dict[str, Any]:
        """Return the settings for a real ComfyUI with folders of its own, and nodes of the tests' own."""
        folders = {name: self.folder / name for name in ("input", "output", "user")}
        for folder in folders.values():
            folder.mkdir()
        nodes = self.folder / "nodes.yaml"
        nodes.write_text(f"tests:\n  custom_nodes: {_NODES}\n")
        extra = [word for name, folder in folders.items() for word in (f"--{name}-directory", str(folder))]
        extra += ["--temp-directory", str(self.folder), "--database-url", f"sqlite:///{self.folder}/comfyui.db"]
        extra += ["--extra-model-paths-config", str(nodes), "--disable-api-nodes"]
        python = os.environ.get("COMFYUI_PYTHON", "")
        return {"directory": os.environ["COMFYUI_DIR"], "python": python, "extra_args": extra}

    def up(self, *instances: str) -> None:
        """Start it all, and wait until the listener finds ComfyUI well, each of these instances or the only one."""
        self.ok("up", "-d")
        for instance in instances or (self.instance,):
            self.wait_for_word("IDLE", instance=instance)

    def health(self, instance: str = "") -> dict[str, Any]:
        """Return the listener's status file; empty while there is none."""
        file = self.state / (instance or self.instance) / "status.json"
        status: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return status

    def word(self, instance: str = "") -> str:
        """Return how the listener finds the instance."""
        return str(self.health(instance).get("word", ""))

    def is_well(self) -> bool:
        """Tell whether the process that runs, and not one before it, was found well."""
        health = self.health()
        return health.get("word") == "IDLE" and health.get("pid") == self.info().pid

    def wait_for_word(self, *words: str, instance: str = "", deadline: float = 60.0) -> None:
        """Wait until the listener finds the instance so."""
        wait_until(lambda: self.word(instance) in words, deadline, f"{words}: {self.story(instance)}")

    def decisions(self, instance: str = "") -> list[dict[str, Any]]:
        """Return what the listener wrote down, in this test; a line that is being written is not there yet."""
        file = self.state / (instance or self.instance) / "decisions.jsonl"
        lines = file.read_text().split("\n")[self._past : -1] if file.exists() else []
        return [json.loads(line) for line in lines]

    def deeds(self, *kinds: str, instance: str = "") -> list[dict[str, Any]]:
        """Return the verdicts with one of these deeds."""
        verdicts = [decision["verdict"] for decision in self.decisions(instance)]
        return [verdict for verdict in verdicts if verdict.get("deed") in kinds]

    def restarts(self, instance: str = "") -> list[dict[str, Any]]:
        """Return the verdicts that ended a life."""
        return self.deeds(*ENDS, instance=instance)

    def alerts(self, instance: str = "") -> list[str]:
        """Return the causes that were alerted."""
        return [verdict.get("cause", "healthy") for verdict in self.deeds("alert", instance=instance)]

    def wait_for_alert(self, cause: str, instance: str = "", deadline: float = 60.0) -> None:
        """Wait until a cause is alerted."""
        wait_until(lambda: cause in self.alerts(instance), deadline, f"{cause}: {self.story(instance)}")

    def wait_for_next_life(self, pid: int, program: str = "comfyui", deadline: float = 60.0) -> int:
        """Wait until another process runs in this one's place, and return its pid."""
        self.wait_for(lambda: self.info(program).pid not in {0, pid}, deadline, "a new process")
        return self.info(program).pid

    def wait_for(self, condition: Callable[[], object], deadline: float = 60.0, what: str = "") -> None:
        """Wait until something holds; tell the listener's story if it doesn't."""
        end = time.monotonic() + deadline
        while not (self.rpc.state() and condition()):
            assert time.monotonic() < end, f"not within {deadline:g} s: {what}\n{self.story()}"
            time.sleep(0.05)

    def wait_for_restart(self, pid: int, cause: str, deadline: float) -> dict[str, Any]:
        """Wait until the listener has ended this process, once and for this cause, and its successor is well."""
        self.wait_for_next_life(pid, deadline=deadline)
        self.wait_for_word("IDLE")
        (verdict,) = self.restarts()
        assert verdict["cause"] == cause, self.story()
        return verdict

    def stays(self, seconds: float, program: str = "comfyui") -> None:
        """Watch for a while that nothing is done to the instance's process."""
        pid = self.info(program).pid  # 0 for what is to stay stopped
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.info(program).pid == pid, self.story()
            time.sleep(0.1)

    def order(self, do: str, port: int | None = None, **options: Any) -> None:
        """Have the stand-in do something wrong."""
        url = f"http://127.0.0.1:{port or self.port}/standin"
        answer = requests.post(url, json={"do": do, **options}, timeout=10)
        assert answer.json()["ok"], answer.text

    def listener(self) -> psutil.Process:
        """Return the listener's process."""
        return psutil.Process(self.pid("comfyui-health"))

    def inject(self, code: str, *whom: str) -> None:
        """Have the listener execute this in its next life before its own first line, as a broken package might.

        Or whoever has one of these words in its command. The service has to be started after the first time: only then
        does it run in the virtual environment.
        """
        self.apart = True
        packages = next(self.python.parent.parent.glob("lib/*/site-packages"))
        guard = f"import sys\nif set(sys.orig_argv) & {set(whom or (MAIN_PROGRAM,))}:\n"
        (packages / "injected.py").write_text(guard + textwrap.indent(textwrap.dedent(code), "    "))
        (packages / "zz-injected.pth").write_text("import injected\n")

    def story(self, instance: str = "") -> str:
        """Return the listener's log, for those who read a test's failure."""
        return f"{self.log('comfyui-health')[-3000:]}\n{self.health(instance).get('reason', '')}"

    def startable(self, **tables: dict[str, Any]) -> None:
        """Write the settings with an interpreter that does what ``start_fault`` says at each start."""
        orders = self.folder / "start-fault"
        python = self.folder / "python"
        make_program(python, f'export STANDIN_START="$(cat {orders} 2>/dev/null)"\nexec {self.python} "$@"')
        comfyui = {"directory": str(STANDIN_FOLDER), "python": str(python), **tables.get("comfyui", {})}
        self.settings(**{**tables, "comfyui": comfyui})

    def start_fault(self, orders: str) -> None:
        """Have the next starts go wrong in this way, none if it is empty; only if it is ``startable``."""
        (self.folder / "start-fault").write_text(orders)

    def nothing_went_wrong(self) -> None:
        """Fail if the listener had trouble of its own."""
        log = self.log("comfyui-health")
        assert "our own error" not in log, log
        assert "not done, " not in log, log


def fault(node: str, value: Any = 0.0) -> dict[str, Any]:
    """Return a job with one of our nodes for a real ComfyUI."""
    return {"1": {"class_type": node, "inputs": {"value": value}}}


def sleeper(seconds: float, **options: Any) -> dict[str, Any]:
    """Return a job that takes a while: with progress, unless ``silent``; asleep, unless it is to ``burn``."""
    return {"1": {"class_type": "StandinSleep", "inputs": {"seconds": seconds, **options}}}


def failing(kind: str) -> dict[str, Any]:
    """Return a job that fails, as ``error``, ``cuda_poisoned``, ``cuda_error`` or ``cuda_oom``."""
    return {"1": {"class_type": "StandinFail", "inputs": {"kind": kind}}}


def remote(seconds: float) -> dict[str, Any]:
    """Return a job that waits for an API elsewhere."""
    return {"1": {"class_type": "StandinRemote", "inputs": {"seconds": seconds}}}


def loader(seconds: float, mib_per_second: float) -> dict[str, Any]:
    """Return a job that does nothing but read."""
    return {"1": {"class_type": "StandinLoad", "inputs": {"seconds": seconds, "mib_per_second": mib_per_second}}}


@contextmanager
def traced(pid: int, how: str) -> Iterator[None]:
    """Have a process traced, as a debugger does (see tracer)."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, _TRACER, how, str(pid)], stdin=pipe, stdout=pipe, stderr=pipe) as tracer:
        assert tracer.stdout
        assert tracer.stderr
        if not tracer.stdout.readline():
            pytest.skip(f"nothing may be traced here: {tracer.stderr.read().decode().strip()}")
        yield
