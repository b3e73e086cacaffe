"""One request to supervisord, one answer, one deadline for both."""

from __future__ import annotations

import base64
import socket
import time
from urllib.parse import urlsplit

from ..errors import UserError

MOST_BYTES = 8 * 1024 * 1024
"""More than supervisord has to say of a thousand programs."""


class Transport:
    """The way to a supervisord: a unix socket, or a host and port."""

    def __init__(self, url: str, timeout: float, username: str, password: str) -> None:
        """Keep the address; connects to nothing. ``timeout``: seconds for a whole exchange. Raises UserError."""
        self._timeout = timeout
        self._address = _address(url)
        self._authorization = b""
        if username:
            token = base64.b64encode(f"{username}:{password}".encode())
            self._authorization = b"Authorization: Basic " + token + b"\r\n"

    def exchange(self, body: bytes) -> bytes:
        """Send a request, return the body of its answer; raises OSError.

        HTTP/1.0 by hand: supervisord then ends the connection, and one deadline holds for all of it, which
        http.client and xmlrpc.client don't offer.
        """
        deadline = time.monotonic() + self._timeout
        head = b"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n" % len(body)
        with self._connect() as connection:
            connection.sendall(head + self._authorization + b"\r\n" + body)
            answer = _read_all(connection, deadline)
        status, _, rest = answer.partition(b"\r\n")
        if b" 200 " not in status:
            raise OSError(status.decode("ascii", "replace") or "the connection was closed")
        return rest.partition(b"\r\n\r\n")[2]

    def _connect(self) -> socket.socket:
        if not isinstance(self._address, str):
            return socket.create_connection(self._address, self._timeout)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._timeout)
        try:
            connection.connect(self._address)
        except OSError:
            connection.close()
            raise
        return connection


def _read_all(connection: socket.socket, deadline: float) -> bytes:
    """Return everything until the connection's end; raises OSError, TimeoutError at the deadline."""
    answer = bytearray()
    while len(answer) <= MOST_BYTES:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        chunk = connection.recv(65536)
        if not chunk:
            return bytes(answer)
        answer += chunk
    raise OSError(f"an answer of more than {MOST_BYTES} bytes")


def _address(url: str) -> str | tuple[str, int]:
    """Return the path of a unix socket, or host and port; raises UserError."""
    if url.startswith("unix://"):
        return url[len("unix://") :]
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise UserError(f"supervisord's address {url!r}: expected unix:///PATH or http://HOST:PORT")
