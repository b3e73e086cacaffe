"""Whether a supervisord is there, told from its socket: not running and not answering ask for different mends."""

from __future__ import annotations

import socket
from pathlib import Path

from . import rpc
from .errors import UserError

ENDING = "supervisord is being shut down"


def running(address: Path, timeout: float = 5.0) -> int | None:
    """Return the pid of the supervisord that answers at a unix socket; None if nobody is there.

    Raises UserError if somebody is there and gives no answer: neither a second start nor an end would do any good.
    """
    pid = rpc.Supervisor(f"unix://{address}", timeout).pid()
    if isinstance(pid, int):
        return pid
    if abandoned(address):
        return None
    raise UserError(silence(address, pid))


def silence(address: Path, failure: rpc.Failure) -> str:
    """Return why supervisord did not answer at a unix socket, with the mend."""
    if abandoned(address):
        return "supervisord isn't running; comfy-supervisor up starts it"
    if isinstance(failure, rpc.Fault) and failure.name == "SHUTDOWN_STATE":
        return ENDING
    return f"{failure}; look for one that is stopped (kill -CONT), busy, or another user's"


def abandoned(address: Path) -> bool:
    """Tell whether nobody listens: there is no socket, or one that a supervisord left behind as it was killed."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(address))
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return True
    except OSError:
        pass
    return False
