"""One question to supervisord; by hand, since xmlrpc.client alone takes longer to import than the answer takes."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

_MOST = 131072
"""Bytes of an answer that are read."""


def is_stopping(url: str, program: str, timeout: float = 1.0) -> bool:
    """Tell whether supervisord is stopping a program, as far as it says so within ``timeout`` seconds.

    ``url`` is SUPERVISOR_SERVER_URL, ``program`` the name for supervisorctl.
    """
    return "<string>STOPPING</string>" in ask(url, "supervisor.getProcessInfo", program, timeout=timeout)


def ask(url: str, method: str, *parameters: str | int, timeout: float) -> str:
    """Return the answer to a call, as the XML that it is; empty if there is none within ``timeout`` seconds."""
    kinds = {str: "string", int: "int"}
    values = (f"<{kinds[type(each)]}>{each}</{kinds[type(each)]}>" for each in parameters)
    params = "".join(f"<param><value>{value}</value></param>" for value in values)
    body = (
        f'<?xml version="1.0"?><methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>'
    ).encode()
    head = f"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    try:
        return _exchanged(url, head + body, time.monotonic() + timeout)
    except (OSError, ValueError):
        return ""


def _exchanged(url: str, request: bytes, deadline: float) -> str:
    """Return all that is answered to a request; raises OSError, ValueError for a URL that is none."""
    answer = b""
    with _connection(url, deadline - time.monotonic()) as connection:
        connection.sendall(request)
        while len(answer) < _MOST:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            chunk = connection.recv(_MOST)
            if not chunk:
                break
            answer += chunk
    return answer.decode("utf-8", "replace")


def _connection(url: str, timeout: float) -> socket.socket:
    import socket  # noqa: PLC0415

    if url.startswith("unix://"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(url[len("unix://") :])
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = url.partition("://")[2].rstrip("/").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout)
