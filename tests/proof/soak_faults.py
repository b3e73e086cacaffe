"""Random faults for an instance, one after the other: each is over once a new process answers."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import requests

from tests.cli.service import Service

from .soak_load import Sent

LISTENER = "comfyui-health"
WINDOW = 240.0
"""Seconds after which an instance counts as not recovered."""


@dataclass(frozen=True)
class Victim:
    """An instance that things happen to."""

    service: Service
    place: int
    """Of its GPU."""
    sent: Sent

    @property
    def url(self) -> str:
        """Its API's root."""
        return f"http://127.0.0.1:{self.service.port + self.place}"

    def pid(self) -> int:
        """Return its process; 0: there is none."""
        return self.service.info(f"comfyui:gpu{self.place}").pid

    def is_well(self) -> bool:
        """Tell whether the listener has seen this process work: before that, it is given the time of a start."""
        told = json.loads((self.service.state / f"gpu{self.place}" / "status.json").read_text())
        return told["pid"] == self.pid() and told["word"] in ("IDLE", "BUSY")

    def order(self, **order: object) -> None:
        """Have the stand-in do something wrong."""
        requests.post(f"{self.url}/standin", json=order, timeout=10).raise_for_status()


@dataclass(frozen=True)
class Event:
    """What happened to an instance; ``seconds`` until a new process answered, None: not in time."""

    fault: str
    seconds: float | None


def _signal(victim: Victim, number: signal.Signals) -> None:
    pid = victim.pid()
    if pid:
        os.kill(pid, number)


FAULTS: Mapping[str, Callable[[Victim], object]] = {
    "crash (SIGSEGV)": lambda victim: _signal(victim, signal.SIGSEGV),
    "killed (SIGKILL)": lambda victim: _signal(victim, signal.SIGKILL),
    "stopped (SIGSTOP)": lambda victim: _signal(victim, signal.SIGSTOP),
    "worker thread dies": lambda victim: victim.order(do="worker_dies"),
    "a job stalls, deaf to interrupts": lambda victim: victim.order(do="stall", deaf=True),
    "poisoned CUDA": lambda victim: victim.sent.submit(victim.url, ("StandinFail", {"kind": "cuda_poisoned"})),
    "answers held": lambda victim: victim.order(do="hold_answers", how="wait"),
}
_ALIKE = frozenset({"a job stalls, deaf to interrupts", "answers held"})
"""What no process shows by itself: two that fall ill so at once are left alone, as ever (docs/health.md), so that these
strike one instance at a time."""
KILLED_LISTENER = "the listener killed"
_LISTENER_OFTEN = 0.15


class Misfortune(threading.Thread):
    """Does one thing after the other to an instance, until it is told to end."""

    def __init__(self, victim: Victim, chance: random.Random, one: threading.Lock) -> None:
        """Begin at once; ``one`` is held by the only one whom something strikes that tells nothing by itself."""
        super().__init__(daemon=True)
        self.victim, self.chance, self.one = victim, chance, one
        self.events: list[Event] = []
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        """Strike what is well, wait for the recovery, and strike again."""
        while not self.over.wait(self.chance.uniform(2, 6)):
            if self.chance.random() < _LISTENER_OFTEN:
                self._kill_listener()
            fault = self.chance.choice(list(FAULTS))
            if not self.victim.is_well():
                continue
            if fault not in _ALIKE:
                self._strike(fault)
            elif self.one.acquire(blocking=False):
                self._strike(fault)
                self.one.release()

    def end(self) -> None:
        """Do nothing more, once the last is over."""
        self.over.set()
        self.join()

    def _strike(self, fault: str) -> None:
        """Have something go wrong, and wait until that is over."""
        pid = self.victim.pid()
        with suppress(requests.RequestException):  # who can't be told to go wrong does not
            FAULTS[fault](self.victim)
            self.events.append(Event(fault, self._recovered_after(pid)))

    def _kill_listener(self) -> None:
        pid = self.victim.service.info(LISTENER).pid
        if pid:
            os.kill(pid, signal.SIGKILL)
            self.events.append(Event(KILLED_LISTENER, self._until(lambda: self._other(LISTENER, pid))))

    def _recovered_after(self, pid: int) -> float | None:
        name = f"comfyui:gpu{self.victim.place}"
        return self._until(lambda: self._other(name, pid) and self.victim.service.answers(self._port))

    @property
    def _port(self) -> int:
        return self.victim.service.port + self.victim.place

    def _other(self, name: str, pid: int) -> bool:
        return self.victim.service.info(name).pid not in {0, pid}

    def _until(self, holds: Callable[[], bool]) -> float | None:
        began = time.monotonic()
        while (waited := time.monotonic() - began) < WINDOW:
            if holds():
                return waited
            time.sleep(0.2)
        return None
