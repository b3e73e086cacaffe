"""The queue of jobs and their history, with the names and the manners of ComfyUI's: extensions use and wrap them."""

from __future__ import annotations

import copy
import heapq
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from comfy_supervisor.standin import nodes

Item = tuple[Any, ...]
"""``(number, prompt_id, prompt, extra_data, outputs)``, and from 0.3.68 on the API keys that were taken out."""
PUBLIC = 5
"""How many fields of an item clients may see."""
_LONGEST_HISTORY = 10_000

Entry = dict[str, Any]
"""A finished job, as ``/history`` shows it."""


class _Server(Protocol):
    def queue_updated(self) -> None:
        """Hear that the number of unfinished jobs may have changed."""


class PromptQueue:
    """Jobs in the order of their numbers; safe to use from several threads."""

    class ExecutionStatus(NamedTuple):
        """How a job ended."""

        status_str: str
        """``success`` or ``error``."""
        completed: bool
        messages: list[tuple[str, dict[str, Any]]]

    def __init__(self, server: _Server) -> None:
        """Tell `server` of changes."""
        self.server = server
        self.mutex = threading.RLock()
        self.not_empty = threading.Condition(self.mutex)
        self.task_counter = 0
        self.queue: list[Item] = []
        """A heap."""
        self.currently_running: dict[int, Item] = {}
        self.history: dict[str, Entry] = {}
        self.flags: dict[str, Any] = {}
        self._paused = False

    def put(self, item: Item) -> None:
        """Queue a job.

        Raises TypeError for an item that is compared with one of the same number and id, since graphs have
        no order; it is in the queue all the same. ComfyUI's oddity, and it comes with the same heap.
        """
        with self.mutex:
            heapq.heappush(self.queue, item)
            self.server.queue_updated()
            self.not_empty.notify()

    def get(self, timeout: float | None = None) -> tuple[Item, int] | None:
        """Take the next job and a token for `task_done`; None after `timeout` seconds or for a flag."""
        with self.not_empty:
            while not self._may_take():
                self.not_empty.wait(timeout)
                if timeout is not None:
                    break
            if not self._may_take():
                return None
            item, token = heapq.heappop(self.queue), self.task_counter
            self.task_counter += 1
            self.currently_running[token] = copy.deepcopy(item)
            self.server.queue_updated()
            return item, token

    def _may_take(self) -> bool:
        return bool(self.queue) and not self._paused

    def pause(self, paused: bool) -> None:
        """Have no further job taken, or go on: a fault, which ComfyUI has no name for."""
        with self.not_empty:
            self._paused = paused
            self.not_empty.notify()

    def task_done(
        self,
        item_id: int,
        history_result: Entry,
        status: ExecutionStatus | None,
        process_item: Callable[[Item], Item] | None = None,
    ) -> None:
        """Move a running job into the history, without what `process_item` takes from it."""
        with self.mutex:
            item = self.currently_running.pop(item_id)
            if len(self.history) > _LONGEST_HISTORY:
                del self.history[next(iter(self.history))]
            self.history[item[1]] = {
                "prompt": process_item(item) if process_item else item,
                "outputs": {},
                "status": copy.deepcopy(status._asdict()) if status else None,
                **history_result,
            }
            self.server.queue_updated()

    def get_current_queue(self) -> tuple[list[Item], list[Item]]:
        """Return the running jobs and copies of the waiting ones; the latter in the heap's order, not sorted."""
        running, waiting = self.get_current_queue_volatile()
        return running, copy.deepcopy(waiting)

    def get_current_queue_volatile(self) -> tuple[list[Item], list[Item]]:
        """Return the same, the waiting jobs themselves: not to be changed."""
        with self.mutex:
            return list(self.currently_running.values()), list(self.queue)

    def get_tasks_remaining(self) -> int:
        """Return how many jobs wait or run."""
        with self.mutex:
            return len(self.queue) + len(self.currently_running)

    def interrupt_if_running(self, prompt_id: str) -> bool:
        """Interrupt that job and no other; tell whether it ran."""
        with self.mutex:
            runs = any(item[1] == prompt_id for item in self.currently_running.values())
            if runs:
                nodes.interrupt_processing()
            return runs

    def wipe_queue(self) -> None:
        """Drop all waiting jobs."""
        with self.mutex:
            self.queue = []
            self.server.queue_updated()

    def delete_queue_item(self, function: Callable[[Item], bool]) -> bool:
        """Drop the first waiting job that `function` accepts; tell whether there was one."""
        with self.mutex:
            index = next((index for index, item in enumerate(self.queue) if function(item)), None)
            if index is None:
                return False
            if len(self.queue) == 1:
                self.wipe_queue()  # as ComfyUI: who has wrapped it hears of this, too
            else:
                del self.queue[index]
                heapq.heapify(self.queue)
            self.server.queue_updated()
            return True

    def get_history(
        self,
        prompt_id: str | None = None,
        max_items: int | None = None,
        offset: int = -1,
        map_function: Callable[[Entry], Entry] | None = None,
    ) -> dict[str, Entry]:
        """Return one finished job, if it is known, or several by id.

        Those are the oldest first: the newest `max_items`, or as many from `offset` on.
        """
        with self.mutex:
            ids = list(self.history)
            start = len(ids) - max_items if offset < 0 and max_items is not None else offset
            end = None if max_items is None else max(start, 0) + max_items
            wanted = ids[max(start, 0) : end] if prompt_id is None else {prompt_id} & self.history.keys()
            return {each: (map_function or copy.copy)(self.history[each]) for each in wanted}

    def wipe_history(self) -> None:
        """Drop the history."""
        with self.mutex:
            self.history = {}

    def delete_history_item(self, id_to_delete: str) -> None:
        """Drop a job from the history."""
        with self.mutex:
            self.history.pop(id_to_delete, None)

    def set_flag(self, name: str, data: object) -> None:
        """Leave word for the worker, which reads it between jobs."""
        with self.mutex:
            self.flags[name] = data
            self.not_empty.notify()

    def get_flags(self, reset: bool = True) -> dict[str, Any]:
        """Return the words left, and clear them."""
        with self.mutex:
            flags = dict(self.flags)
            if reset:
                self.flags = {}
            return flags
