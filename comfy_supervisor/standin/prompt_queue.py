"""The queue of jobs and their history, with the manners of ComfyUI's."""

from __future__ import annotations

import copy
import heapq
import threading
from collections.abc import Callable
from typing import Any

Item = tuple[Any, ...]
"""``(number, prompt_id, prompt, extra_data, outputs)``, and from 0.3.68 on the API keys that were taken out."""
PUBLIC = 5
"""How many fields of an item clients may see."""
_LONGEST_HISTORY = 10_000

Entry = dict[str, Any]
"""A finished job, as ``/history`` shows it."""


class PromptQueue:
    """Jobs in the order of their numbers; safe to use from several threads."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever the number of unfinished jobs may have changed."""
        self._lock = threading.RLock()
        self._filled = threading.Condition(self._lock)
        self._changed = changed
        self._pending: list[Item] = []
        self._running: dict[int, Item] = {}
        self._taken = 0
        self._history: dict[str, Entry] = {}
        self._flags: dict[str, bool] = {}

    def put(self, item: Item) -> None:
        """Queue a job.

        Raises TypeError for an item that is compared with one of the same number and id, since graphs have
        no order; it is in the queue all the same. ComfyUI's oddity, and it comes with the same heap.
        """
        with self._lock:
            heapq.heappush(self._pending, item)
            self._changed()
            self._filled.notify()

    def get(self, timeout: float) -> tuple[Item, int] | None:
        """Take the next job and a token for `done`; None after `timeout` seconds or for a flag."""
        with self._filled:
            if not self._pending:
                self._filled.wait(timeout)
            if not self._pending:
                return None
            item = heapq.heappop(self._pending)
            self._taken += 1
            self._running[self._taken] = copy.deepcopy(item)
            self._changed()
            return item, self._taken

    def done(self, token: int, entry: Callable[[Item], Entry]) -> None:
        """Move a running job into the history, as `entry` describes it."""
        with self._lock:
            item = self._running.pop(token)
            if len(self._history) > _LONGEST_HISTORY:
                del self._history[next(iter(self._history))]
            self._history[item[1]] = entry(item)
            self._changed()

    def unfinished(self) -> tuple[list[Item], list[Item]]:
        """Return the running and the waiting jobs; the latter in the heap's order, not sorted."""
        with self._lock:
            return list(self._running.values()), list(self._pending)

    def remaining(self) -> int:
        """Return how many jobs wait or run."""
        with self._lock:
            return len(self._pending) + len(self._running)

    def clear(self) -> None:
        """Drop all waiting jobs."""
        with self._lock:
            self._pending = []
            self._changed()

    def delete(self, prompt_id: object) -> bool:
        """Drop one waiting job of that id; tell whether there was one."""
        with self._lock:
            index = next((i for i, item in enumerate(self._pending) if item[1] == prompt_id), None)
            if index is None:
                return False
            del self._pending[index]
            heapq.heapify(self._pending)
            self._changed()
            return True

    def history(self, max_items: int | None = None, offset: int = -1) -> dict[str, Entry]:
        """Return finished jobs, the oldest first: the newest `max_items`, or as many from `offset` on."""
        with self._lock:
            ids = list(self._history)
            start = len(ids) - max_items if offset < 0 and max_items is not None else offset
            end = None if max_items is None else max(start, 0) + max_items
            return {key: self._history[key] for key in ids[max(start, 0) : end]}

    def finished(self, prompt_id: str) -> Entry | None:
        """Return one finished job, if it is known."""
        with self._lock:
            return self._history.get(prompt_id)

    def forget(self, prompt_id: str) -> None:
        """Drop a job from the history."""
        with self._lock:
            self._history.pop(prompt_id, None)

    def forget_all(self) -> None:
        """Drop the history."""
        with self._lock:
            self._history = {}

    def flag(self, name: str) -> None:
        """Leave word for the worker, which reads it between jobs."""
        with self._lock:
            self._flags[name] = True
            self._filled.notify()

    def take_flags(self) -> dict[str, bool]:
        """Return the words left, and clear them."""
        with self._lock:
            flags, self._flags = self._flags, {}
            return flags
