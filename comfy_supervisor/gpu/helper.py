"""Asks NVML by way of a helper process, within a deadline.

An NVML call may hang in the kernel, where no signal reaches it, or crash the process it is made in; so it is
made in a process that can be given up.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..model import Driver

_SCRIPT = Path(__file__).with_name("nvml.py")
_KILL_GRACE = 0.5
"""Seconds that a killed helper has to be gone; one in an uninterruptible call never is."""

_LEFT_ALONE = 1.0
"""Seconds beyond the deadline after which a helper ends by itself: whoever asked was killed."""

_stuck: list[subprocess.Popen[bytes]] = []
"""Helpers that outlived SIGKILL. They are kept to be reaped some day, and so that there is never a second one:
with one each few seconds, a hung driver would fill the process table."""


class NoAnswerError(Exception):
    """The helper hung, died or can't be understood."""

    def __init__(self, driver: Driver, text: str) -> None:
        """Keep what this says of the driver, and one line that explains it."""
        super().__init__(text)
        self.driver = driver
        self.text = text


def ask(question: str, deadline: float) -> dict[str, Any]:
    """Return the helper's answer to ``detect`` or ``use``: the object that ``nvml.py`` describes.

    Takes at most ``deadline`` seconds, and half a second more if the helper must be killed; raises NoAnswerError.
    """
    process = start(
        _SCRIPT, question, str(math.ceil(deadline + _LEFT_ALONE)), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        output, errors = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        raise NoAnswerError(Driver.HANGS, hangs(f"no answer within {deadline:g} s")) from None
    finally:
        end(process)
    return _understand(process.returncode, output, errors)


def start(script: Path, *arguments: str, stdin: int, stderr: int | None) -> subprocess.Popen[bytes]:
    """Start a script that asks NVML in a group of its own, with this process's interpreter and environment.

    It is named by its path: with ``-m`` the working folder's modules would come first, and this package's would
    be imported for nothing. Raises NoAnswerError, also while an earlier one still hangs.
    """
    _stuck[:] = [process for process in _stuck if process.poll() is None]
    if _stuck:
        raise NoAnswerError(Driver.HANGS, hangs(f"an earlier call still hangs (process {_stuck[0].pid})"))
    try:
        return subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        raise NoAnswerError(Driver.BROKEN, f"can't start {sys.executable} to ask NVML: {error.strerror}") from error


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a helper's whole group if it is still there (NVML may have started nvidia-modprobe), and close its pipes.

    Takes at most half a second; one that no signal reaches is left alone.
    """
    if process.returncode is None:  # not reaped: the number is still its own
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            process.wait(_KILL_GRACE)
        except subprocess.TimeoutExpired:
            _stuck.append(process)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


def _understand(returncode: int, output: bytes, errors: bytes) -> dict[str, Any]:
    """Return the answer of a helper that ended."""
    if returncode < 0:
        name = signal.strsignal(-returncode) or f"signal {-returncode}"
        text = f"the process that asks NVML died ({name}); if it does so again, reinstall the driver and reboot"
        raise NoAnswerError(Driver.BROKEN, text)
    with suppress(ValueError, RecursionError):
        answer = json.loads(output)
        if returncode == 0 and isinstance(answer, dict):
            return answer
    lines = errors.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), f"exit status {returncode}")
    raise NoAnswerError(Driver.BROKEN, f"can't ask NVML: {last}")


def hangs(what: str) -> str:
    """Return one line about a call that does not return."""
    return f"NVML hangs: {what}; look for NVRM and Xid lines in dmesg; it mostly takes a reboot"
