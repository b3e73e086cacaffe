"""One at a time: whoever changes the state folder, or starts a supervisord from it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from .. import disk
from ..errors import UserError
from ..paths import Paths

PATIENCE = 20.0
"""Seconds to wait for another command of ours."""


@contextlib.contextmanager
def locked(paths: Paths, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the state folder's lock; it goes with the process, however that ends. Raises UserError."""
    try:
        descriptor = os.open(paths.lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise disk.explained(paths.lock, error) from error
    try:
        _wait(descriptor, paths, patience)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, paths: Paths, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UserError(f"{paths.lock}: another comfy-supervisor is at work here; try again") from None
            time.sleep(0.05)
        else:
            return
