"""An extension for tests, run by ComfyUI: writes down what it finds there, and every call that it stands before.

It is copied into a folder of custom nodes; to who imports it anywhere else it is a file like any other.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

NODE_CLASS_MAPPINGS: dict[str, type] = {}

QUEUE_METHODS = (
    "put",
    "get",
    "task_done",
    "wipe_queue",
    "delete_queue_item",
    "get_current_queue",
    "get_current_queue_volatile",
    "get_tasks_remaining",
    "get_history",
    "wipe_history",
    "delete_history_item",
    "set_flag",
    "get_flags",
)


def say(what: str, **more: object) -> None:
    """Write down one line."""
    with Path(os.environ["PROBE"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"what": what, **more}) + "\n")


def parameters(function: Any) -> str:
    return " ".join(inspect.signature(function).parameters)


def look(server: Any, execution: Any, nodes: Any) -> None:
    """Write down what there is."""
    instance, queue = server.PromptServer.instance, server.PromptServer.instance.prompt_queue
    say(
        "surface",
        module=__name__,
        has_worker=any("prompt_worker" in thread.name for thread in threading.enumerate()),
        loop_runs=instance.loop.is_running() and instance.loop is asyncio.get_running_loop(),
        keys=list(execution.SENSITIVE_EXTRA_DATA_KEYS),
        queue_class=type(queue) is execution.PromptQueue,
        attributes={
            name: type(getattr(queue, name)).__name__
            for name in ("mutex", "not_empty", "queue", "currently_running", "flags", "history")
        },
        status=list(execution.PromptQueue.ExecutionStatus._fields),
        queue_methods={name: parameters(getattr(type(queue), name)) for name in QUEUE_METHODS},
        send_sync=parameters(type(instance).send_sync),
        queue_updated=parameters(type(instance).queue_updated),
        execute=parameters(execution.execute),
        execute_is_async=inspect.iscoroutinefunction(execution.execute),
        interrupt_processing=parameters(nodes.interrupt_processing),
    )


def stand_before(owner: Any, name: str) -> None:
    """Have each call written down with what the hook of that name says of it."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def hooked(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        say(name, **DETAILS[name](result, *arguments, **named))
        return result

    setattr(owner, name, hooked)


def of_put(_result: Any, _queue: Any, item: Any) -> dict[str, Any]:
    return {"job": item[1], "length": len(item)}


def of_get(result: Any, queue: Any, timeout: float | None = None) -> dict[str, Any]:
    job = result and result[0][1]
    copied = result and queue.currently_running[result[1]]
    return {
        "job": job,
        "waits": timeout is not None,
        "copied": result and copied == result[0] and copied is not result[0],
    }


def of_task_done(_result: Any, queue: Any, item_id: int, _history: Any, status: Any, **_: Any) -> dict[str, Any]:
    still = item_id in queue.currently_running
    return {"completed": status.completed, "messages": [name for name, _data in status.messages], "still_runs": still}


def of_execute(_result: Any, _server: Any, graph: Any, _caches: Any, node: str, *_: Any) -> dict[str, Any]:
    return {"node": node, "class_type": graph.get_node(node)["class_type"]}


DETAILS: dict[str, Any] = {
    "put": of_put,
    "get": of_get,
    "task_done": of_task_done,
    "wipe_queue": lambda *_: {},
    "delete_queue_item": lambda result, *_: {"found": result},
    "send_sync": lambda _result, _server, event, *_: {"event": str(event)},
    "execute": of_execute,
    "interrupt_processing": lambda _result, value=True: {"value": value},
}


def begin() -> None:
    server, execution, nodes = (sys.modules[name] for name in ("server", "execution", "nodes"))
    look(server, execution, nodes)
    instance: Any = server.PromptServer.instance
    for name in ("put", "get", "task_done", "wipe_queue", "delete_queue_item"):
        stand_before(type(instance.prompt_queue), name)
    stand_before(type(instance), "send_sync")
    stand_before(execution, "execute")
    stand_before(nodes, "interrupt_processing")


if "PROBE" in os.environ:
    begin()
