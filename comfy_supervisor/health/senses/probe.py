"""One look at ComfyUI's API from outside: bounded in time and bytes, never an exception."""

from __future__ import annotations

from dataclasses import dataclass


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
    from ..policy.evidence import Reply  # noqa: PLC0415
    from .api import Api  # noqa: PLC0415  # 120 ms that only probing needs

    api = Api(url)
    said = api.prompt(deadline)
    api.forget()
    return Answer(said.reply is Reply.GOOD, said.queue, said.text)
