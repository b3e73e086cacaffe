"""What supervisord said of a process's end: it forgets the exit status at the respawn, but its log doesn't.

The lines are those of ``Subprocess.spawn`` and ``Subprocess.finish`` in supervisor/process.py, the same in
4.2.5, 4.3.0 and 4.4. ``exited`` is a death of its own, ``stopped`` one that somebody asked supervisord for.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

_TAIL = 16384
"""Bytes of supervisord's log to look at."""

_BODY = (
    '<?xml version="1.0"?><methodCall><methodName>supervisor.readLog</methodName><params>'
    f"<param><value><int>-{_TAIL}</int></value></param><param><value><int>0</int></value></param>"
    "</params></methodCall>"
)
_REQUEST = (f"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(_BODY)}\r\n\r\n{_BODY}").encode()


def ending(url: str, process: str, pid: int, timeout: float = 2.0) -> str:
    """Return how the life of a process ended, as supervisord logged it; empty if it can't be told.

    ``exited: exit status 2; not expected``, ``exited: terminated by SIGKILL; not expected`` or, if somebody
    asked for it, ``stopped: exit status 0``. ``url`` is SUPERVISOR_SERVER_URL, ``process`` the name without
    its group, ``pid`` that of the life in question; at most ``timeout`` seconds are spent.
    """
    try:
        log = _tail_of_log(url, time.monotonic() + timeout)
    except (OSError, ValueError):
        return ""
    return find(log, process, pid)


def find(log: str, process: str, pid: int) -> str:
    """Return the last end of a process that a piece of supervisord's log tells of, after the start of ``pid``.

    Where that start is further back than the piece goes, the whole piece counts.
    """
    import re  # noqa: PLC0415

    since = log.rpartition(f"spawned: '{process}' with pid {pid}\n")[2]
    ends = re.findall(rf"(?m)^\S+ \S+ [A-Z]+ ((?:exited|stopped): ){re.escape(process)} \((.*)\)$", since)
    return "".join(ends[-1]) if ends else ""


def _tail_of_log(url: str, deadline: float) -> str:
    """Ask supervisord; by hand, since xmlrpc.client alone would take longer to import than the answer takes."""
    answer = b""
    with _connection(url, deadline - time.monotonic()) as connection:
        connection.sendall(_REQUEST)
        while len(answer) < 8 * _TAIL:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            chunk = connection.recv(_TAIL)
            if not chunk:
                break
            answer += chunk
    text = answer.decode("utf-8", "replace")
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


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
