"""How the running job is steered from outside: interrupts, and the faults that were ordered for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass


class Interrupted(Exception):  # noqa: N818  # ComfyUI's word for it; a wish, not an error
    """Somebody asked for the running job's end."""


class WorkerDeath(BaseException):
    """Ends the worker thread: no handler of a node's errors catches it."""


@dataclass
class _Faults:
    """What the worker was told to do wrong."""

    stalled: bool = False
    deaf: bool = False
    """The stall ignores interrupts, as a node in a driver call does."""
    worker_dies: bool = False
    poisoned: bool = False


class Control:
    """Read by the worker between any two steps of a job, written by the server."""

    def __init__(self) -> None:
        """Start without faults."""
        self._changed = threading.Condition()
        self._interrupted = False
        self._faults = _Faults()

    @property
    def poisoned(self) -> bool:
        """Whether the pretended CUDA context is broken for good."""
        return self._faults.poisoned

    def interrupt(self, wanted: bool = True) -> None:
        """Ask for the running job's end, or take that back; forgotten when the next one begins."""
        with self._changed:
            self._interrupted = wanted
            self._changed.notify_all()

    def order(self, *, stalled: bool = False, deaf: bool = False, worker_dies: bool = False) -> None:
        """Put a fault on the running job, or on the next."""
        with self._changed:
            self._faults = _Faults(stalled, deaf, worker_dies, self._faults.poisoned)
            self._changed.notify_all()

    def poison(self) -> None:
        """Break the pretended CUDA context: every later job fails at once."""
        self._faults.poisoned = True

    def recover(self) -> None:
        """Take all faults back; what has died stays dead."""
        with self._changed:
            self._faults = _Faults()
            self._changed.notify_all()

    def sleep(self, seconds: float) -> None:
        """Sleep, but wake for an interrupt or a fault and obey it as `checkpoint` does."""
        with self._changed:
            self._changed.wait_for(self._has_orders, timeout=seconds)
        self.checkpoint()

    def checkpoint(self) -> None:
        """Obey what was ordered: stand still while stalled; raises Interrupted or WorkerDeath."""
        with self._changed:
            self._changed.wait_for(lambda: not self._stands_still())
            if self._faults.worker_dies:
                raise WorkerDeath("the stand-in's worker thread was told to die")
            if self._interrupted:
                raise Interrupted

    def _has_orders(self) -> bool:
        return self._interrupted or self._faults.stalled or self._faults.worker_dies

    def _stands_still(self) -> bool:
        heard = self._interrupted and not self._faults.deaf
        return self._faults.stalled and not heard and not self._faults.worker_dies
