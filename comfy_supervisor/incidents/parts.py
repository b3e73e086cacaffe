"""Several questions at once, each on a thread of its own, all within one deadline: what isn't answered is said so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_STUCK = 16
"""Threads that may hang in the kernel at once: with as many, nothing further is asked."""

_stuck: list[threading.Thread] = []


class MissingError(Exception):
    """What was asked for can't be had; the text says why."""


@dataclass
class Findings:
    """What was found, by name, and why the rest was not."""

    values: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def take(self, more: Findings) -> None:
        """Add what was found since; nothing that is here already is missing."""
        self.values |= more.values
        told = {**self.missing, **more.missing}
        self.missing = {name: why for name, why in told.items() if name not in self.values}


class Parts:
    """Questions that are being asked."""

    def __init__(self, questions: Mapping[str, Callable[[], Any]]) -> None:
        """Begin to ask them all."""
        self._began = time.monotonic()
        self._found = Findings()
        self._threads: dict[str, threading.Thread] = {}
        _stuck[:] = [thread for thread in _stuck if thread.is_alive()]
        for name, question in questions.items():
            if len(_stuck) >= MOST_STUCK:
                self._found.missing[name] = "too many earlier questions still hang"
                continue
            thread = threading.Thread(target=self._ask, args=(name, question), name=f"part-{name}", daemon=True)
            self._threads[name] = thread
            thread.start()

    def gather(self, patience: float) -> Findings:
        """Return what was found within so many seconds of their beginning; waits for no more than that."""
        over = self._began + patience
        for thread in self._threads.values():
            thread.join(max(0.0, over - time.monotonic()))
        found = Findings(dict(self._found.values), dict(self._found.missing))
        for name, thread in self._threads.items():
            if name not in found.values and name not in found.missing:
                found.missing[name] = f"not within {patience:g} s"
                _stuck.append(thread)
        return found

    def _ask(self, name: str, question: Callable[[], Any]) -> None:
        try:
            self._found.values[name] = question()
        except MissingError as error:
            self._found.missing[name] = str(error)
        except Exception as error:  # noqa: BLE001  # each part may fail, and says so
            self._found.missing[name] = f"{type(error).__name__}: {error}"
