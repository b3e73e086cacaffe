"""One look at the API: bounded in time and bytes, whatever answers there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from comfy_supervisor.health import probe
from tests.support import free_port

GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n{"exec_info": {"queue_remaining": 12}}  '


class Server:
    """Answers every connection with given bytes, one piece after another."""

    def __init__(self, *pieces: bytes, pause: float = 0.0) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
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
        (b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "HTTP 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "another server"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "another server"),
        (b"SSH-2.0-OpenSSH\r\n", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n500\r\n{", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "decode"),
    ],
)
def test_what_is_not_comfyuis_answer_is_said(answer: bytes, error: str, servers: list[Server]) -> None:
    found = asked(servers, answer)
    assert not found.ready
    assert error in found.error


def test_a_trickle_is_not_waited_for(servers: list[Server]) -> None:
    """One byte in a while never trips a socket's own time-out; the deadline is for the whole."""
    began = time.monotonic()
    answer = asked(servers, *([b"x"] * 1000), pause=0.05, deadline=0.5)
    assert not answer.ready
    assert time.monotonic() - began < 20


def test_silence_is_not_waited_for(servers: list[Server]) -> None:
    answer = asked(servers, b"", pause=60, deadline=0.3)
    assert not answer.ready
    assert "no answer" in answer.error


def test_an_endless_answer_is_not_read_to_its_end(servers: list[Server]) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
    answer = asked(servers, head, *([b"x" * 65536] * 2000))
    assert not answer.ready
    assert servers[-1].sent < 100 * probe.MOST_BYTES


def test_no_proxy_is_asked(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert asked(servers, GOOD).ready
