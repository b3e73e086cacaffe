"""The requests about jobs: ``/prompt``, ``/queue``, ``/history``, ``/interrupt``, ``/free``."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import web

from comfy_supervisor.standin import nodes
from comfy_supervisor.standin.execution import SENSITIVE_EXTRA_DATA_KEYS
from comfy_supervisor.standin.prompt_queue import PUBLIC, Item
from comfy_supervisor.standin.release import (
    CREATE_TIME,
    HISTORY_OFFSET,
    INTERRUPT_ONE,
    KEEPS_KEYS_APART,
    PROMPT_ID,
    UUID_PROMPT_ID,
    Release,
)
from comfy_supervisor.standin.state import STANDIN, Standin
from comfy_supervisor.standin.validation import Problem, problem, validate

_log = logging.getLogger(__name__)


async def get_prompt(request: web.Request) -> web.Response:
    """Say how many jobs wait or run: the cheapest sign of life."""
    return web.json_response(request.app[STANDIN].server.get_queue_info())


async def post_prompt(request: web.Request) -> web.Response:
    """Queue a job. A body that is not JSON raises, and aiohttp makes it a 500, as with ComfyUI."""
    _log.info("got prompt")
    standin, body = request.app[STANDIN], await request.json()
    number = _number(standin, body)
    if "prompt" not in body:
        return _refused(problem("no_prompt", "No prompt provided", "No prompt provided"))
    release = standin.configuration.release
    prompt_id = _prompt_id(body, release)
    if prompt_id is None:
        details = (
            "prompt_id must be a UUID string in canonical lowercase hyphenated form;"
            " omit it to let the server generate one"
        )
        return _refused(problem("invalid_prompt_id", "prompt_id must be a valid UUID", details))
    verdict = validate(body["prompt"], body.get("partial_execution_targets"), standin.types, release)
    if verdict.error is not None:
        _log.warning("invalid prompt: %s", verdict.error)
        return _refused(verdict.error, verdict.node_errors)
    extra_data, *keys = _extra_data(body, release)
    standin.queue.put((number, prompt_id, body["prompt"], extra_data, list(verdict.outputs), *keys))
    return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})


def _refused(error: Problem, node_errors: dict[str, Any] | None = None) -> web.Response:
    return web.json_response({"error": error, "node_errors": node_errors or {}}, status=400)


def _number(standin: Standin, body: dict[str, Any]) -> float:
    """Return the job's place: the client's, or the next; the smallest number runs first."""
    if "number" in body:
        return float(body["number"])
    number = -standin.numbered if body.get("front") else standin.numbered
    standin.numbered += 1
    return number


def _prompt_id(body: dict[str, Any], release: Release) -> str | None:
    """Return the job's id, the client's where the release takes it; None if it is unfit."""
    if not release.has(PROMPT_ID) or "prompt_id" not in body:
        return str(uuid.uuid4())
    given = body["prompt_id"]
    if not release.has(UUID_PROMPT_ID):
        return str(given)
    if given is None:
        return str(uuid.uuid4())
    try:
        return given if isinstance(given, str) and str(uuid.UUID(given)) == given else None
    except ValueError:
        return None


def _extra_data(body: dict[str, Any], release: Release) -> tuple[dict[str, Any], ...]:
    """Return the job's extra data, and apart from it, where the release does so, its API keys."""
    extra_data = body.get("extra_data", {})
    if "client_id" in body:
        extra_data["client_id"] = body["client_id"]
    if not release.has(KEEPS_KEYS_APART):
        return (extra_data,)
    keys = {name: extra_data.pop(name) for name in SENSITIVE_EXTRA_DATA_KEYS if name in extra_data}
    if release.has(CREATE_TIME):
        extra_data["create_time"] = int(time.time() * 1000)
    return extra_data, keys


async def get_queue(request: web.Request) -> web.Response:
    """Show all jobs that wait or run, whole graphs and all."""
    running, pending = request.app[STANDIN].queue.get_current_queue_volatile()
    return web.json_response({"queue_running": _public(running), "queue_pending": _public(pending)})


def _public(items: list[Item]) -> list[Item]:
    return [item[:PUBLIC] for item in items]


async def post_queue(request: web.Request) -> web.Response:
    """Delete waiting jobs: ``{"clear": true}`` or ``{"delete": [ids]}``."""
    queue, body = request.app[STANDIN].queue, await request.json()
    if body.get("clear"):
        queue.wipe_queue()
    for prompt_id in body.get("delete", ()):
        queue.delete_queue_item(_has_id(prompt_id))
    return web.Response()


def _has_id(prompt_id: object) -> Callable[[Item], bool]:
    return lambda item: bool(item[1] == prompt_id)


async def get_history(request: web.Request) -> web.Response:
    """Show finished jobs, the newest ``max_items`` of them or those from ``offset`` on."""
    standin = request.app[STANDIN]
    most, offset = request.query.get("max_items"), request.query.get("offset")
    if not standin.configuration.release.has(HISTORY_OFFSET):
        offset = None
    shown = standin.queue.get_history(
        max_items=None if most is None else int(most), offset=-1 if offset is None else int(offset)
    )
    return web.json_response(shown)


async def get_finished(request: web.Request) -> web.Response:
    """Show one finished job; an unknown one is ``{}``."""
    prompt_id = request.match_info["prompt_id"]
    return web.json_response(request.app[STANDIN].queue.get_history(prompt_id))


async def post_history(request: web.Request) -> web.Response:
    """Forget finished jobs: ``{"clear": true}`` or ``{"delete": [ids]}``."""
    queue, body = request.app[STANDIN].queue, await request.json()
    if body.get("clear"):
        queue.wipe_history()
    for prompt_id in body.get("delete", ()):
        queue.delete_history_item(prompt_id)
    return web.Response()


async def post_interrupt(request: web.Request) -> web.Response:
    """Interrupt the running job, or only the one named; answers 200 whether or not anything happens."""
    standin = request.app[STANDIN]
    try:
        prompt_id = (await request.json()).get("prompt_id")
    except json.JSONDecodeError:
        prompt_id = None
    running, _ = standin.queue.get_current_queue_volatile()
    named = prompt_id and standin.configuration.release.has(INTERRUPT_ONE)
    if not named or any(item[1] == prompt_id for item in running):
        _log.info("Interrupting prompt %s", prompt_id or "that runs")
        nodes.interrupt_processing()
    else:
        _log.info("Prompt %s is not currently running, skipping interrupt", prompt_id)
    return web.Response()


async def post_free(request: web.Request) -> web.Response:
    """Have the worker free memory between two jobs; here that is the cache of results."""
    body = await request.json()
    for name in ("unload_models", "free_memory"):
        if body.get(name):
            request.app[STANDIN].queue.set_flag(name, True)
    return web.Response()


ROUTES = (
    web.get("/prompt", get_prompt),
    web.post("/prompt", post_prompt),
    web.get("/queue", get_queue),
    web.post("/queue", post_queue),
    web.get("/history", get_history),
    web.get("/history/{prompt_id}", get_finished),
    web.post("/history", post_history),
    web.post("/interrupt", post_interrupt),
    web.post("/free", post_free),
)
