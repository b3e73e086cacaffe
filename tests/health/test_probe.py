"""One look at the API: bounded in time and bytes, whatever answers there."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_supervisor.health.senses import probe
from tests.certificate import make_certificate
from tests.support import free_port

GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n{"exec_info": {"queue_remaining": 12}}  '


class Server:
    """Answers every connection with given bytes, one piece after another."""

    def __init__(self, *pieces: bytes, pause: float = 0.0, context: ssl.SSLContext | None = None) -> None:
        plain = socket.create_server(("127.0.0.1", 0))
        self._socket = context.wrap_socket(plain, server_side=True) if context else plain
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._pieces, self._pause = pieces, pause
        self.sent = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    connection.recv(65536)
                    for piece in self._pieces:
                        connection.sendall(piece)
                        self.sent += len(piece)
                        time.sleep(self._pause)
        except OSError:
            return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made: list[Server] = []
    yield made
    for server in made:
        server.close()


def asked(servers: list[Server], *pieces: bytes, pause: float = 0.0, deadline: float = 10.0) -> probe.Answer:
    servers.append(Server(*pieces, pause=pause))
    return probe.prompt(servers[-1].url, deadline)


def test_the_queue_is_read(servers: list[Server]) -> None:
    assert asked(servers, GOOD) == probe.Answer(ready=True, queue=12)


def test_nobody_listens() -> None:
    answer = probe.prompt(f"http://127.0.0.1:{free_port()}")
    assert answer == probe.Answer(ready=False, error="connection refused")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", "HTTP 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "its answer is none of ComfyUI's"),
    ],
)
def test_what_is_not_comfyuis_answer_is_said(answer: bytes, error: str, servers: list[Server]) -> None:
    assert asked(servers, answer) == probe.Answer(ready=False, error=error)


def test_silence_is_not_waited_for(servers: list[Server]) -> None:
    answer = asked(servers, b"", pause=60, deadline=0.3)
    assert answer == probe.Answer(ready=False, error="no whole answer within 0.3 s")


def test_any_certificate_will_do_and_none_is_warned_of(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path))
    server = Server(GOOD, context=context)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        answer = probe.prompt(server.url.replace("http:", "https:"), 10.0)
    server.close()
    assert answer == probe.Answer(ready=True, queue=12)
    assert not warned


def test_no_proxy_is_asked(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert asked(servers, GOOD).ready
