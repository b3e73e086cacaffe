"""Whether a supervisord is there, told from its socket: not running and not answering ask for different mends."""

from __future__ import annotations

import socket
from pathlib import Path

from . import machine, rpc
from .errors import UserError
from .launch import orphans
from .service import MARK, UNIT, command

UP = "comfy-supervisor up"
"""What starts a supervisord, where no service does."""


def running(address: Path, timeout: float = 5.0) -> int | None:
    """Return the pid of the supervisord that answers at a unix socket; None if nobody is there.

    Raises UserError if somebody is there and gives no answer: neither a second start nor an end would do any good.
    """
    pid = rpc.Supervisor(f"unix://{address}", timeout).pid()
    if isinstance(pid, int):
        return pid
    if abandoned(address):
        return None
    raise UserError(_silence(pid))


def silence(address: Path, failure: rpc.Failure, conf: Path) -> str:
    """Return why supervisord, of a configuration, did not answer at a unix socket, with the mend."""
    return f"supervisord isn't running; {starts(conf)}" if abandoned(address) else _silence(failure)


def unheard(state: Path) -> str:
    """Return who runs the instance of a state folder though nobody listens at the socket, with the mend; empty: nobody.

    Whoever is left of a supervisord that was killed belongs to the first process, whatever that is.
    """
    kept = orphans.keeper(orphans.marks(str(state)))
    if kept is None or kept[1] == 1:
        return ""
    return f"supervisord (pid {kept[1]}), whose socket is gone, runs {kept[0]}: kill {kept[1]} ends both"


def starts(conf: Path) -> str:
    """Say what starts the supervisord of a configuration, and where a service of ours tells why it does not run."""
    starter = starter_of(conf)
    logs = starter.rpartition("comfy-supervisor ")[2].replace("start", "logs")
    why = f", {logs} tells why it ended" if starter != UP else ""
    return f"{starter} starts it{why}"


def starter_of(conf: Path) -> str:
    """Return the command that starts the supervisord of a configuration: by a service of ours, where there is one."""
    for user in (False, True):
        if command(("--configuration", str(conf))) in _unit(machine.unit_folder(user=user) / UNIT):
            return service_start(user=user)
    return UP


def service_start(*, user: bool) -> str:
    """Return the command that starts the service: the machine's is root's to start."""
    return "comfy-supervisor service start --user" if user else "sudo comfy-supervisor service start"


def _unit(file: Path) -> str:
    """Return the text of a unit of ours; empty: there is none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text if text.startswith(MARK) else ""


def _silence(failure: rpc.Failure) -> str:
    """Return why somebody who is there did not answer, with the mend."""
    if isinstance(failure, rpc.Fault) and failure.name == "SHUTDOWN_STATE":
        return rpc.ENDING
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
