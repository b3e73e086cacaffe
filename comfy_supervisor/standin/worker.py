"""The worker thread: takes jobs from the queue, one at a time, for ever."""

from __future__ import annotations

import logging
import time
from typing import Any

from comfy_supervisor.standin.events import Events
from comfy_supervisor.standin.executor import Executor, Record
from comfy_supervisor.standin.prompt_queue import PUBLIC, Entry, Item, PromptQueue

_log = logging.getLogger(__name__)

API_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")
"""The fields of ``extra_data`` that are not to be shown."""


def prompt_worker(queue: PromptQueue, executor: Executor, events: Events) -> None:
    """Execute jobs until the process ends; the name is the one that ComfyUI's thread has in tracebacks."""
    while True:
        taken = queue.get(timeout=1000)
        if taken is not None:
            _execute(*taken, queue, executor, events)
        if queue.take_flags().get("free_memory"):
            executor.cache.clear()


def _execute(item: Item, token: int, queue: PromptQueue, executor: Executor, events: Events) -> None:
    """Execute one job and put it into the history."""
    started = time.perf_counter()
    _, prompt_id, prompt, extra_data, outputs, *keys = item
    record = executor.execute(prompt_id, prompt, {**extra_data, **(keys[0] if keys else {})}, outputs)
    queue.done(token, lambda finished: _entry(finished, record))
    if events.client_id is not None:
        events.send("executing", {"node": None, "prompt_id": prompt_id}, events.client_id)
    _log.info("Prompt executed in %.2f seconds", time.perf_counter() - started)


def _entry(item: Item, record: Record) -> Entry:
    """Return a finished job as ``/history`` shows it, without API keys."""
    number, prompt_id, prompt, extra_data, outputs = item[:PUBLIC]
    shown: dict[str, Any] = {name: value for name, value in extra_data.items() if name not in API_KEYS}
    return {
        "prompt": (number, prompt_id, prompt, shown, outputs),
        "outputs": record.outputs,
        "status": record.status,
        "meta": record.meta,
    }
