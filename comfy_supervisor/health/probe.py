"""One look at ComfyUI's API from outside: bounded in time and bytes, never an exception."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass

MOST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """What the API said."""

    ready: bool
    queue: int | None = None
    """Jobs running and waiting."""
    error: str = ""
    """Why it isn't ready."""


def prompt(url: str, deadline: float = 2.0) -> Answer:
    """Ask ``GET /prompt``, the cheapest question that ComfyUI answers without touching the GPU.

    Returns after ``deadline`` seconds at the latest, however slowly the answer trickles in.
    """
    found: list[Answer] = []
    asking = threading.Thread(target=lambda: found.append(_ask(url, deadline)), daemon=True)
    asking.start()
    asking.join(deadline)
    return found[0] if found else Answer(ready=False, error=f"no answer within {deadline:g} s")


def _ask(url: str, deadline: float) -> Answer:
    import requests  # noqa: PLC0415  # 120 ms that only probing needs
    import urllib3  # noqa: PLC0415  # its errors come through where a body breaks off

    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxies: it is our own machine
            with session.get(f"{url}/prompt", timeout=deadline, allow_redirects=False, stream=True) as response:
                body = response.raw.read(MOST_BYTES + 1, decode_content=True)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        return Answer(ready=False, error=_reason(error))
    return _understood(response.status_code, body)


def _understood(status: int, body: bytes) -> Answer:
    if status != 200:  # noqa: PLR2004  # the one status that the route has
        return Answer(ready=False, error=f"HTTP {status}")
    try:
        return Answer(ready=True, queue=int(json.loads(body)["exec_info"]["queue_remaining"]))
    except (ValueError, TypeError, KeyError):
        return Answer(ready=False, error="another server answers there, not ComfyUI")


def _reason(error: Exception) -> str:
    text = str(error)
    if "Connection refused" in text:
        return "connection refused"
    return "no answer in time" if "timed out" in text else text
