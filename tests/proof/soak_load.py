"""Honest work for an instance: jobs of every kind that only looks ill, and now and then an API that is slow."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests

Node = tuple[str, dict[str, Any]]

AT_ONCE = 3
"""Jobs in the queue of an instance."""
_PATIENCE = 5.0
"""Seconds for an answer of the API."""
REMOTE = "waits for another API"
"""A job that may be silent for twenty minutes: if it stalls, it is left alone for as long."""
KINDS: dict[str, tuple[int, Callable[[random.Random], Node]]] = {
    "short": (8, lambda chance: ("StandinSleep", {"seconds": chance.uniform(0.05, 0.5)})),
    "long, with progress": (2, lambda chance: ("StandinSleep", {"seconds": chance.uniform(5, 20), "steps": 60})),
    "silent, on the CPU": (1, lambda chance: ("StandinSleep", _silent(chance.uniform(2, 6)))),
    REMOTE: (1, lambda chance: ("StandinRemote", {"seconds": chance.uniform(3, 12)})),
    "reads a model": (1, lambda chance: ("StandinLoad", {"seconds": chance.uniform(3, 10), "mib_per_second": 20.0})),
}
"""How often each kind comes, and a job of it."""


def _silent(seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "steps": 1, "silent": True, "burn": True}


@dataclass
class Sent:
    """What clients have submitted, and an answer has confirmed."""

    jobs: dict[str, int] = field(default_factory=dict)
    """The job's number by its id."""
    kinds: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def graph(self, node: Node, number: int) -> dict[str, Any]:
        """Return a job that leaves a file with its number behind each time that it is done."""
        class_type, inputs = node
        image = {"width": 16, "height": 16, "batch_size": 1, "color": number}
        return {
            "1": {"class_type": class_type, "inputs": inputs},
            "2": {"class_type": "EmptyImage", "inputs": image},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix(number)}},
        }

    def submit(self, url: str, node: Node) -> str:
        """Queue a job and return its id; raises RequestException where no answer says that it was taken."""
        number = next(self.numbers)
        answer = requests.post(f"{url}/prompt", json={"prompt": self.graph(node, number)}, timeout=_PATIENCE)
        answer.raise_for_status()
        prompt_id: str = answer.json()["prompt_id"]
        self.jobs[prompt_id] = number
        return prompt_id


def prefix(number: int) -> str:
    """Return how the names of a job's files begin."""
    return f"job-{number:06d}"


class Client(threading.Thread):
    """Keeps an instance at work until it is told to end."""

    def __init__(self, url: str, sent: Sent, chance: random.Random, *, spared: bool) -> None:
        """Begin at once; ``spared``: no fault strikes it, so that its jobs may be remote, and its API slow."""
        super().__init__(daemon=True)
        self.url, self.sent, self.chance, self.spared = url, sent, chance, spared
        self.kinds = [kind for kind in KINDS if spared or kind != REMOTE]
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        """Submit jobs, as long as they are taken."""
        while not self.over.wait(0.3):
            with suppress(requests.RequestException, ValueError):
                if self._waiting() < AT_ONCE:
                    self._submit()
                elif self.spared and self.chance.random() < 0.01:
                    self._slow_down()

    def end(self) -> None:
        """Submit nothing more."""
        self.over.set()
        self.join()

    def _waiting(self) -> int:
        told = requests.get(f"{self.url}/prompt", timeout=_PATIENCE)
        return int(told.json()["exec_info"]["queue_remaining"])

    def _submit(self) -> None:
        kind = self.chance.choices(self.kinds, [KINDS[kind][0] for kind in self.kinds])[0]
        self.sent.submit(self.url, KINDS[kind][1](self.chance))
        self.sent.kinds[kind] = self.sent.kinds.get(kind, 0) + 1

    def _slow_down(self) -> None:
        """Have the API hold each request, or its event loop be busy, as long as an honest machine may."""
        seconds, how = self.chance.uniform(2, 6), self.chance.choice(["wait", "burn"])
        order = {"do": "hold_answers", "how": how, "seconds": seconds}
        requests.post(f"{self.url}/standin", json=order, timeout=_PATIENCE)
        self.sent.kinds["(slow API)"] = self.sent.kinds.get("(slow API)", 0) + 1
