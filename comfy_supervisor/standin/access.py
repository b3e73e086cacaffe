"""Which web pages may use the server."""

from __future__ import annotations

import ipaddress
import logging
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from comfy_supervisor.standin.state import Handler

_log = logging.getLogger(__name__)


def control(cors_origin: str) -> Middleware:
    """Return the middleware: pages of `cors_origin`, or without one none but the server's own.

    As with ComfyUI, an origin replaces the check.
    """
    return _cors(cors_origin) if cors_origin else _same_origin


def _cors(origin: str) -> Middleware:
    """Return the middleware that lets pages of `origin` in, and with them everybody else."""
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "POST, GET, DELETE, PUT, OPTIONS, PATCH",
        "Access-Control-Allow-Headers": "Content-Type, Authorization",
        "Access-Control-Allow-Credentials": "true",
    }

    @web.middleware
    async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = web.Response() if request.method == "OPTIONS" else await handler(request)
        response.headers.update(headers)
        return response

    return cors


@web.middleware
async def _same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a foreign web page sends to a server on this machine."""
    host, origin = urlsplit(f"//{request.host}"), urlsplit(request.headers.get("Origin", ""))
    if origin.netloc and _is_loopback(host.hostname) and host.netloc.lower() != origin.netloc.lower():
        _log.warning("WARNING: request with non matching host and origin %s != %s", host.netloc, origin.netloc)
        return web.Response(status=403)
    return web.Response() if request.method == "OPTIONS" else await handler(request)


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
