"""The parts of a running stand-in, as its requests' handlers find them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from comfy_supervisor.standin.configuration import Configuration
from comfy_supervisor.standin.control import Control
from comfy_supervisor.standin.node_types import NodeType
from comfy_supervisor.standin.prompt_queue import PromptQueue
from comfy_supervisor.standin.prompt_server import PromptServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Standin:
    """A running stand-in."""

    configuration: Configuration
    types: Mapping[str, NodeType]
    control: Control
    queue: PromptQueue
    server: PromptServer
    numbered: int = 0
    """How many jobs were given their number here: restarts at 0 with the process."""
    answer: Handler | None = None
    """Answers every request in place of the right handler, if a fault is in force."""
    runner: web.AppRunner | None = None
    """What listens, once it does."""


STANDIN = web.AppKey("standin", Standin)
