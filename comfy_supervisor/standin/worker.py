"""The worker thread: takes jobs from the queue, one at a time, for ever."""

from __future__ import annotations

import logging
import time
from typing import Any

from comfy_supervisor.standin.execution import SENSITIVE_EXTRA_DATA_KEYS, Executor
from comfy_supervisor.standin.prompt_queue import PUBLIC, Item, PromptQueue
from comfy_supervisor.standin.prompt_server import PromptServer

_log = logging.getLogger(__name__)


def prompt_worker(queue: PromptQueue, executor: Executor) -> None:
    """Execute jobs until the process ends; the name is the one that ComfyUI's thread has in tracebacks."""
    while True:
        taken = queue.get(timeout=1000)
        if taken is not None:
            _execute(*taken, queue, executor)
        if queue.get_flags().get("free_memory"):
            executor.cache.clear()


def _execute(item: Item, item_id: int, queue: PromptQueue, executor: Executor) -> None:
    """Execute one job and put it into the history."""
    started = time.perf_counter()
    _, prompt_id, prompt, extra_data, outputs, *keys = item
    record = executor.execute(prompt_id, prompt, {**extra_data, **(keys[0] if keys else {})}, outputs)
    result = {"outputs": record.outputs, "meta": record.meta}
    queue.task_done(item_id, result, status=record.status, process_item=_without_keys)
    _say_that_nothing_runs(executor.server, prompt_id)
    _log.info("Prompt executed in %.2f seconds", time.perf_counter() - started)


def _without_keys(item: Item) -> Item:
    """Return a job as ``/history`` shows it."""
    number, prompt_id, prompt, extra_data, outputs = item[:PUBLIC]
    shown: dict[str, Any] = {name: value for name, value in extra_data.items() if name not in SENSITIVE_EXTRA_DATA_KEYS}
    return number, prompt_id, prompt, shown, outputs


def _say_that_nothing_runs(server: PromptServer, prompt_id: str) -> None:
    if server.client_id is not None:
        server.send_sync("executing", {"node": None, "prompt_id": prompt_id}, server.client_id)
