"""HTTP questions that end: none lasts longer than whoever asks allows, however the other side behaves.

requests' time-outs hold for each single read, so that a server which sends a byte now and then, in its headers or
in its body, is never given up. Here each read of the socket may last as long as is left of the whole question's
time. No thread is needed for it, and none stays behind.
"""

from __future__ import annotations

import json
import math
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_HEADERS = {"User-Agent": "comfy-supervisor", "Accept": "application/json", "Accept-Encoding": "identity"}
"""Nothing is to be unpacked: a small answer stays small."""
_LONGEST = 200
"""Characters of an error's text that are kept."""
_ends: ContextVar[float] = ContextVar("ends", default=math.inf)
"""When the question that this thread asks is over, by CLOCK_MONOTONIC."""


class Answer:
    """An answer whose headers have been read, and whose body is read piece by piece."""

    def __init__(self, response: requests.Response) -> None:
        """Keep what requests brought."""
        self.status = response.status_code
        self.location: str = response.headers.get("Location", "")
        self._raw = response.raw

    def read(self, size: int) -> bytes:
        """Return the next bytes, as many as were asked for unless the body ends. Raises what ``Client.ask`` does."""
        piece: bytes = self._raw.read(size, decode_content=False)
        return piece


class Client:
    """Asks one server, over one connection that is kept. To be used by one thread at a time.

    requests' adapter is used without its Session, which would read a redirect's whole body before it does not
    follow it, and collect cookies.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, *, verify: bool = False) -> None:
        """Keep the server's address, and headers to send beside our own; connects to nobody yet.

        Without ``verify`` its certificate isn't verified: it is this machine's.
        """
        self._url = url.rstrip("/")
        self._headers = {**_HEADERS, **(headers or {})}
        self._verify = verify
        self._adapter = _VerifyingAdapter() if verify else _Adapter(pool_connections=1, pool_maxsize=1)
        if urlsplit(url).scheme == "https" and not verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    @contextmanager
    def ask(self, path: str, deadline: float, body: object = None, *, once: bool = False) -> Iterator[Answer]:
        """Ask, and give the answer to be read, all within ``deadline`` seconds. What isn't read is not waited for.

        A ``body`` is posted as JSON. A connection that was kept may be a dead process's: the request is sent once
        more then, unless ``once`` says that this would do harm.
        Raises requests' and urllib3's errors, OSError (TimeoutError among them) and http.client.HTTPException.
        """
        over = _ends.set(time.monotonic() + deadline)
        method = "GET" if body is None else "POST"
        try:
            request = self._request(method, path, body)
            if once:
                self.close()  # a new connection can't be a dead process's
            with self._answer(request, once=once) as response:
                yield Answer(response)
        finally:
            _ends.reset(over)

    def close(self) -> None:
        """Let go of the connection."""
        self._adapter.close()

    def _request(self, method: str, path: str, body: object) -> requests.PreparedRequest:
        """Return the request; requests itself would refuse NaN, which Python's servers send and take."""
        url, data = f"{self._url}{path}", None if body is None else json.dumps(body)
        headers = self._headers if data is None else {"Content-Type": "application/json", **self._headers}
        return requests.Request(method, url, headers, data=data).prepare()

    def _answer(self, request: requests.PreparedRequest, *, once: bool) -> requests.Response:
        """Send the request; once more, if the connection that was kept turns out to be a dead process's."""
        try:
            return self._send(request)
        except requests.ConnectionError as error:
            if once or not any(isinstance(each, ConnectionResetError | BrokenPipeError) for each in causes(error)):
                raise
        return self._send(request)

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        return self._adapter.send(request, stream=True, timeout=_left(), verify=self._verify)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give the error and those that it came from: requests and urllib3 wrap what the kernel said several times."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def in_words(error: BaseException, deadline: float) -> str:
    """Return why a question that was to end within ``deadline`` seconds has no answer.

    What the kernel or the protocol says, not the wrappers' text around it, which names Python's objects.
    """
    chain = tuple(causes(error))
    kinds: tuple[tuple[type[BaseException], str], ...] = (
        (TimeoutError, f"no whole answer within {deadline:g} s"),
        (ConnectionRefusedError, "connection refused"),
        (ConnectionError, "the connection was closed without an answer"),
    )
    for kind, words in kinds:
        if any(isinstance(each, kind) for each in chain):
            return words
    return (str(chain[-1]) or type(chain[-1]).__name__)[:_LONGEST]


def _left() -> float:
    """Return how many seconds the question may still last; raises TimeoutError if none."""
    left = _ends.get() - time.monotonic()
    if left <= 0.0:
        raise TimeoutError("timed out")
    return left


class _Socket(socket.socket):
    """A connected socket that is read, and written, only until the question is over."""

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(_left())
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self.settimeout(_left())
        super().sendall(*arguments)


class _TlsSocket(_Socket, ssl.SSLSocket):
    """The same with TLS, whose handshake takes its time from the question as well."""

    def do_handshake(self, block: bool = False) -> None:
        self.settimeout(_left())
        super().do_handshake(block)


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = _Socket(fileno=self.sock.detach())


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        context = self._context()
        context.sslsocket_class = _TlsSocket
        super().init_poolmanager(*arguments, ssl_context=context, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": HTTPSConnectionPool}

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


class _VerifyingAdapter(_Adapter):
    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context()
