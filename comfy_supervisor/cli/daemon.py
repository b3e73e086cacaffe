"""supervisord on a rendered configuration: whether one runs already, its start, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from .. import presence, rpc
from ..errors import UserError
from ..following import tail
from ..plan import isolation
from ..rendered import Service
from ..settings import PREFIX

PATIENCE = 30.0
"""Seconds for supervisord to answer; it takes half a second."""
POLL = 0.05
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_later() -> Iterator[None]:
    """Keep signals until the block has ended: one that cut it short would leave half of it done.

    A supervisord nobody knows of, or a program that was to be started again, and stays down. They are caught, not
    blocked: what is blocked stays so in the process that is started.
    """
    caught: list[int] = []
    handlers = {number: signal.signal(number, lambda which, _: caught.append(which)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for first in caught[:1]:
            signal.raise_signal(first)


def refuse_second(address: Path) -> None:
    """Raise UserError if a supervisord answers already; a stale socket or pid file is no obstacle."""
    pid = presence.running(address)
    if pid is not None:
        raise UserError(
            f"supervisord runs already (pid {pid}, {address}); to take changed settings over: "
            f"comfy-supervisor apply; to stop it: comfy-supervisor down"
        )


def background(service: Service) -> None:
    """Start supervisord and leave it running once it answers; raises UserError if it doesn't."""
    with tempfile.TemporaryFile() as said:
        process = _start(service, said)
        _wait(process, service, said)


@contextlib.contextmanager
def foreground(service: Service) -> Iterator[subprocess.Popen[bytes]]:
    """Run supervisord for as long as the block lasts, however that ends; raises UserError if it doesn't start."""
    process = None
    with tempfile.TemporaryFile() as said:
        try:
            with signals_later():
                process = _start(service, said, "--nodaemon", "--silent")
            _wait(process, service, said)
            yield process
        finally:
            if process and process.poll() is None:
                _shut_down(process, service)


def _start(service: Service, said: IO[bytes], *options: str) -> subprocess.Popen[bytes]:
    """Start supervisord in a session of its own: a Ctrl-C on our terminal is ours, and becomes an orderly end.

    Without the variables of our settings, which may be secret, and which all that it starts would inherit.
    """
    return subprocess.Popen(
        [sys.executable, isolation(), "-m", "supervisor.supervisord", "-c", str(service.conf), *options],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        cwd=service.conf.parent,
        env={name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
        start_new_session=True,
    )


def _wait(process: subprocess.Popen[bytes], service: Service, said: IO[bytes]) -> None:
    """Wait for the first answer; raises UserError with supervisord's own words if there is none."""
    deadline = time.monotonic() + PATIENCE
    supervisor = rpc.Supervisor(service.url, timeout=1.0)
    while isinstance(supervisor.state(), rpc.Failure):
        if process.poll() not in (None, 0) or time.monotonic() > deadline:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise UserError(f"supervisord does not start: {last or f'look at {service.log}'}")
        time.sleep(POLL)


def _shut_down(process: subprocess.Popen[bytes], service: Service) -> None:
    """End supervisord, which ends ComfyUI first; patient, since it kills by itself what takes too long."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    process.terminate()
    process.send_signal(signal.SIGCONT)  # one that was stopped would never hear of it
    wait_for_end(service.url, lambda: process.poll() is not None)


def wait_for_end(url: str, ended: Callable[[], bool], patience: float = float("inf")) -> bool:
    """Wait until a supervisord has ended; False if it still has not after ``patience`` seconds.

    It is asked again and again: it goes on at once when a question arrives, and else looks about once a second.
    """
    supervisor = rpc.Supervisor(url, timeout=1.0)
    deadline = time.monotonic() + patience
    while not ended():
        if time.monotonic() > deadline:
            return False
        supervisor.state()
        time.sleep(POLL)
    return True


def last_words(log: Path, lines: int = 12) -> str:
    """Return the end of a log, indented; empty if there is none."""
    try:
        found = tail(log, lines).decode(errors="replace")
    except OSError:
        return ""
    return "".join(f"    {line}\n" for line in found.splitlines())
