"""Receivers: real HTTP servers, good ones and bad ones."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from comfy_supervisor.notify.config import Receiver
from tests.support import free_port, wait_until


class Ear:
    """A receiver that keeps what it hears, and answers as it is told."""

    def __init__(self, port: int = 0) -> None:
        """Listen; ``how`` is the status of its answers, or ``slow``, or ``hangs``."""
        self.how: int | str = 200
        self.location = ""
        self.heard: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.released = threading.Event()
        ear = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                ear._hear(self)

            def do_GET(self) -> None:
                ear._hear(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/s3cret-token"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _hear(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.headers.append(dict(request.headers))
        self.heard.append(json.loads(body or b"{}"))
        if self.how == "hangs":
            self.released.wait(60)
            return
        if self.how == "slow":
            self._trickle(request)
            return
        assert isinstance(self.how, int)
        request.send_response(self.how)
        if self.location:
            request.send_header("Location", self.location)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _trickle(self, request: BaseHTTPRequestHandler) -> None:
        """Send a byte of the headers now and then, for ever."""
        while not self.released.wait(0.05):
            try:
                request.wfile.write(b"H")
            except OSError:
                return

    @property
    def receiver(self) -> Receiver:
        return Receiver("notify.webhook", self.url)

    @property
    def apprise(self) -> Receiver:
        return Receiver("notify.urls[0]", f"json://127.0.0.1:{self.port}/s3cret-token")

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def wait_for(self, count: int, deadline: float = 30.0) -> list[dict[str, Any]]:
        """Wait until it has heard so many messages."""
        wait_until(lambda: len(self.heard) >= count, deadline, f"{count} messages: {self.heard}")
        return self.heard


@pytest.fixture
def ear() -> Iterator[Ear]:
    """Give a receiver that listens."""
    ear = Ear()
    yield ear
    ear.close()


@pytest.fixture
def other() -> Iterator[Ear]:
    """Give another one."""
    ear = Ear()
    yield ear
    ear.close()


@pytest.fixture
def nobody() -> Receiver:
    """Give a receiver where nobody listens."""
    return Receiver("notify.webhook", f"http://127.0.0.1:{free_port()}/s3cret-token")


@pytest.fixture
def deaf() -> Iterator[Receiver]:
    """Give one that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Receiver("notify.webhook", f"http://127.0.0.1:{server.getsockname()[1]}/s3cret-token")
