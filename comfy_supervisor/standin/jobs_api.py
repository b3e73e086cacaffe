"""``/api/jobs``: all jobs in one form, waiting, running and finished (0.6.0 and later)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from comfy_supervisor.standin.prompt_queue import Entry, Item
from comfy_supervisor.standin.state import STANDIN, Standin

Job = dict[str, Any]
_STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_LAST_WORDS = {"execution_success": "completed", "execution_error": "failed", "execution_interrupted": "cancelled"}


async def get_jobs(request: web.Request) -> web.Response:
    """List jobs, the newest first; ``status``, ``sort_order``, ``limit`` and ``offset`` are heeded."""
    query = request.query
    wanted = [word.strip().lower() for word in query.get("status", "").split(",") if word.strip()]
    if unknown := [word for word in wanted if word not in _STATUSES]:
        text = f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(_STATUSES)}"
        return _error(text)
    try:
        limit = int(query["limit"]) if "limit" in query else None
        offset = max(0, int(query.get("offset", 0)))
    except ValueError:
        return _error("limit and offset must be integers")
    if limit is not None and limit <= 0:
        return _error("limit must be a positive integer")
    jobs = [job for job in _all(request.app[STANDIN]) if not wanted or job["status"] in wanted]
    jobs.sort(key=lambda job: job.get("create_time", 0), reverse=query.get("sort_order", "desc") == "desc")
    page = jobs[offset:][:limit]
    more = offset + len(page) < len(jobs)
    pagination = {"offset": offset, "limit": limit, "total": len(jobs), "has_more": more}
    return web.json_response({"jobs": page, "pagination": pagination})


async def get_job(request: web.Request) -> web.Response:
    """Show one job; a finished one with its outputs and its graph."""
    standin, job_id = request.app[STANDIN], request.match_info["job_id"]
    entry = standin.queue.get_history(job_id).get(job_id)
    if entry is not None:
        graph = {"prompt": entry["prompt"][2], "extra_data": entry["prompt"][3]}
        whole = {"outputs": entry["outputs"], "execution_status": entry["status"], "workflow": graph}
        return web.json_response(_finished(entry) | whole)
    found = next((job for job in _all(standin) if job["id"] == job_id), None)
    return _error("Job not found", 404) if found is None else web.json_response(found)


async def post_cancel(request: web.Request) -> web.Response:
    """Interrupt a running job, or drop a waiting one; anything else is no error (0.26.0 and later)."""
    standin, job_id = request.app[STANDIN], request.match_info["job_id"]
    cancelled = standin.queue.interrupt_if_running(job_id) or standin.queue.delete_queue_item(
        lambda item: bool(item[1] == job_id)
    )
    return web.json_response({"cancelled": cancelled})


def _error(text: str, status: int = 400) -> web.Response:
    return web.json_response({"error": text}, status=status)


def _all(standin: Standin) -> list[Job]:
    running, pending = standin.queue.get_current_queue_volatile()
    return [
        *(_unfinished(item, "in_progress") for item in running),
        *(_unfinished(item, "pending") for item in pending),
        *(_finished(entry) for entry in standin.queue.get_history().values()),
    ]


def _unfinished(item: Item, status: str) -> Job:
    number, job_id, _, extra_data, *_ = item
    return _without_gaps(
        id=job_id,
        status=status,
        priority=number,
        create_time=extra_data.get("create_time"),
        outputs_count=0,
    )


def _finished(entry: Entry) -> Job:
    number, job_id, _, extra_data, _ = entry["prompt"]
    messages = dict(entry["status"]["messages"])
    last = next((word for word in _LAST_WORDS if word in messages), "execution_success")
    shown = [{**item, "nodeId": node} for node, ui in entry["outputs"].items() for item in ui.get("images", ())]
    return _without_gaps(
        id=job_id,
        status=_LAST_WORDS[last],
        priority=number,
        create_time=extra_data.get("create_time"),
        execution_start_time=messages["execution_start"]["timestamp"],
        execution_end_time=messages[last]["timestamp"],
        execution_error=messages.get("execution_error"),
        outputs_count=len(shown),
        preview_output={**shown[0], "mediaType": "images"} if shown else None,
    )


def _without_gaps(**job: object) -> Job:
    return {key: value for key, value in job.items() if value is not None}


ROUTES = (web.get("/api/jobs", get_jobs), web.get("/api/jobs/{job_id}", get_job))
CANCEL_ROUTES = (web.post("/api/jobs/{job_id}/cancel", post_cancel),)
