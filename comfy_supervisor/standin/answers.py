"""Wrong answers: each stands in for the right one while its fault is in force."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from comfy_supervisor.standin.state import Handler

_MIB = b" " * 1024**2


def none() -> Handler:
    """Accept the request and never answer."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("nothing sets this event")

    return answer


def http_500() -> Handler:
    """Answer with an internal error."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPInternalServerError

    return answer


def malformed_json() -> Handler:
    """Answer 200 with JSON that breaks off."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(text='{"exec_info": {"queue_rem', content_type="application/json")

    return answer


def huge(size: int = 1024**3) -> Handler:
    """Answer with `size` bytes of white space, sent as fast as they are read."""

    async def send(response: web.StreamResponse) -> None:
        for start in range(0, size, len(_MIB)):
            await response.write(_MIB[: size - start])

    return _streamed(send)


def slow_loris(interval: float = 0.5) -> Handler:
    """Answer one byte each `interval` seconds, without end."""

    async def send(response: web.StreamResponse) -> None:
        while True:
            await response.write(b" ")
            await asyncio.sleep(interval)

    return _streamed(send)


def redirect(to: str) -> Handler:
    """Answer that the resource is elsewhere."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(to)

    return answer


def _streamed(send: Callable[[web.StreamResponse], Awaitable[None]]) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await send(response)
        return response

    return answer
