"""The faults that a real ComfyUI can show, with the nodes of tests/faults/custom_nodes."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tests import comfyui_server
from tests.bench.report import note, table
from tests.proof.plan import Plan

from . import show
from .common import node
from .fault import Expected, Fault, Seen, judge
from .trial import attempt
from .ward import Ward

_NONE = "No real ComfyUI was tried: set `COMFYUI_DIR` to its folder, and `COMFYUI_PYTHON` to its interpreter."


class RealWard(Ward):
    """A service with a real ComfyUI on the CPU."""

    main = b"main.py"
    patience = 240.0

    def wait_for(self, condition: Callable[[], object], deadline: float = 0.0, what: str = "") -> None:
        """Wait longer: a real one takes its time to start."""
        super().wait_for(condition, max(deadline, self.patience), what)

    def wait_for_word(self, *words: str, instance: str = "cpu", deadline: float = 0.0) -> None:
        """Wait longer."""
        super().wait_for_word(*words, instance=instance, deadline=max(deadline, self.patience))

    def admit(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the settings."""
        self.output.rmdir()  # which comes next, with others
        found = self.real_comfyui()
        jobs = {"extension": True, "replay": "always"}
        given = {name: dict(table) for name, table in tables.items()}
        self.settings(**{**given, "comfyui": found, "jobs": jobs})

    def waiting(self, seconds: float) -> dict[str, Any]:
        """Return a job that takes so long."""
        return node("FaultDeadlock", value=seconds)


def _signal(number: signal.Signals) -> Callable[[Ward], None]:
    def cause(ward: Ward) -> None:
        ward.signalled(number)

    return cause


def _held_for_long(ward: Ward) -> None:
    ward.finished(ward.submit(node("FaultHoldGil", value=4)))
    ward.wait_for_word("IDLE", "BUSY")


def _quarantined(kind: str, value: float = 0.1) -> Callable[[Ward], None]:
    def cause(ward: Ward) -> None:
        killer = ward.submit(node(kind, value=value))
        ward.wait_for_states([killer], "quarantined", deadline=180)

    return cause


FAULTS = (
    Fault(1, "SIGSTOP", Expected("R by SIGKILL", 1, ("process_stopped",)), _signal(signal.SIGSTOP)),
    Fault(64, "SIGKILL", Expected("R by supervisord", 1), _signal(signal.SIGKILL)),
    Fault(2, "a node holds the GIL for 4 s", Expected("N"), _held_for_long, ("idle",)),
    Fault(
        4,
        "a node ends the worker",
        Expected("R twice, then quarantined", 2, ("worker_thread_died",) * 2),
        _quarantined("FaultEndThread"),
        ("idle",),
    ),
    Fault(
        5,
        "a node deadlocks",
        Expected("R twice, then quarantined", 2, ("stalled",) * 2),
        _quarantined("FaultDeadlock", 1e9),
        ("idle",),
    ),
    Fault(
        41,
        "a segmentation fault in a node",
        Expected("R twice, then quarantined", 2),
        _quarantined("FaultCrash"),
        ("idle",),
    ),
)


def measure(plan: Plan) -> tuple[str, list[str]]:
    """Return what came of each as text, and what was not as expected."""
    folder = os.environ.get("COMFYUI_DIR")
    if not folder:
        return _NONE, []
    found: dict[Fault, list[Seen]] = {fault: [] for fault in FAULTS}
    with closing(RealWard()) as ward:
        ward.admit({"health": {"start_grace": 300.0, "patience": 30.0}, "restart": {"budget": 1000}})
        ward.start("up", "-d")  # which gives up sooner than a busy machine is through
        ward.wait_for_word("IDLE")
        for turn in range(plan.repeat):
            for fault in FAULTS:
                ward.chance = random.Random(f"{plan.seed}/real/{fault.number}/{turn}")
                seen = attempt(fault, ward, f"r{fault.number}-{turn}")
                note(f"faults: real: {fault.name}: {'; '.join(judge(fault.expected, seen)) or 'as expected'}")
                found[fault].append(seen)
                ward.renew()
    rows = [show.row(fault, found[fault]) for fault in FAULTS]
    missed = [f"real ComfyUI, {each}" for fault in FAULTS for each in show.missed(fault, found[fault])]
    version = comfyui_server.real(Path(folder), "").release.version
    return f"ComfyUI {version}, on the CPU:\n\n{table(show.HEADER, rows)}", missed
