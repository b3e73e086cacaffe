"""What extensions find as ``server``: the queue, and the WebSocket: who is connected, and what they are told."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any, ClassVar

from aiohttp import ClientError, WSMsgType, web

from comfy_supervisor.standin.prompt_queue import PromptQueue

_log = logging.getLogger(__name__)


class PromptServer:
    """Sends events to clients; `send_sync` may be called from any thread, the rest from the event loop's.

    Those names are ComfyUI's which extensions use.
    """

    instance: ClassVar[PromptServer]
    """The process's one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver by `loop`."""
        PromptServer.instance = self
        self.loop = loop
        self.prompt_queue = PromptQueue(self)
        self._outbox: asyncio.Queue[tuple[str, Any, str | None]] = asyncio.Queue()
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self.client_id: str | None = None
        """Whose job runs, or ran last; only that client hears of it, or everybody if it is nobody's."""
        self.last_node_id: str | None = None
        """The node that runs."""

    def send_sync(self, event: str, data: object, sid: str | None = None) -> None:
        """Send an event to one client, or to all."""
        self.loop.call_soon_threadsafe(self._outbox.put_nowait, (event, data, sid))

    def queue_updated(self) -> None:
        """Tell everybody how many jobs there are."""
        self.send_sync("status", {"status": self.get_queue_info()})

    def get_queue_info(self) -> dict[str, Any]:
        """Return the answer of ``GET /prompt``."""
        return {"exec_info": {"queue_remaining": self.prompt_queue.get_tasks_remaining()}}

    async def deliver(self) -> None:
        """Deliver what `send_sync` was given, in order, for ever."""
        while True:
            event, data, client_id = await self._outbox.get()
            named = [client_id] if client_id is not None else list(self._sockets)
            for name in named:
                await self._deliver_to(name, event, data)

    async def _deliver_to(self, client_id: str, event: str, data: object) -> None:
        socket = self._sockets.get(client_id)
        if socket is None:
            return
        try:
            await socket.send_json({"type": event, "data": data})
        except (ClientError, OSError) as error:
            _log.warning("send error: %s", error)

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        """Serve ``/ws?clientId=``: an id that is in use moves to the new socket, and the old one goes deaf.

        When either socket closes, the id is gone, whoever has it: as ComfyUI does it.
        """
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client_id = request.query.get("clientId") or uuid.uuid4().hex
        self._sockets[client_id] = socket
        try:
            await self._deliver_to(client_id, "status", {"status": self.get_queue_info(), "sid": client_id})
            if self.client_id == client_id and self.last_node_id is not None:
                await self._deliver_to(client_id, "executing", {"node": self.last_node_id})
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    _log.warning("ws connection closed with exception %s", socket.exception())
        finally:
            self._sockets.pop(client_id, None)
        return socket
