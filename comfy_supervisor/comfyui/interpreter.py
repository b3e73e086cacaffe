"""Asks another Python one question: our script runs in it, within a deadline, and answers in JSON."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from .. import codec
from ..model import Account

T = TypeVar("T")

_ANSWER_BYTES = 1 << 20
"""More than any honest answer; beyond it the script is held to be out of hand."""
_STDERR_BYTES = 1 << 14
"""How much of the end of standard error is kept, for its last line."""


LESS = "answered with less than what was asked for"
"""Why an answer of the right shape is of no use to whoever asked."""


class NoAnswerError(Exception):
    """The interpreter gave no usable answer; the text says why, in one line."""


def ask(  # noqa: PLR0913  # what is asked, of whom, and within which bounds
    python: Path,
    script: Path,
    question: object,
    kind: type[T],
    *,
    deadline: float,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> T:
    """Run `script` in `python` and return what it answers, a dataclass of that `kind`, within `deadline` seconds.

    The script reads the question as JSON from standard input and writes its answer to the file descriptor
    that its one argument names; so whatever prints to standard output or error is no part of the answer.
    With an `account`, which only root may give, it runs as that one: what is executed is ComfyUI's, not root's.
    It has its own process group, which is killed when the answer is there or the deadline has passed.
    Raises NoAnswerError.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        command = [str(python), *flags, str(script), str(writing)]
        process = _start(command, question, writing, environment, account)
        try:
            answer, stderr = _collect(process, pipe.fileno(), deadline)
        finally:
            _end(process)
    if not answer:
        raise NoAnswerError(_last_line(stderr) or f"ended without an answer (exit status {process.returncode})")
    try:
        return codec.read(kind, answer)
    except codec.MalformedError as error:
        raise NoAnswerError(f"answered with something other than what was asked for ({error})") from None


def home_of(account: Account | None) -> dict[str, str]:
    """Return the variables that tell a process whose it is; none without an account."""
    return {"HOME": str(account.home), "USER": account.name, "LOGNAME": account.name} if account else {}


def _start(
    command: Sequence[str],
    question: object,
    writing: int,
    environment: Mapping[str, str] | None,
    account: Account | None,
) -> subprocess.Popen[bytes]:
    """Start the interpreter with the question as its standard input; `writing` is closed on our side."""
    try:
        with os.fdopen(os.memfd_create("question"), "w+b") as stdin:  # no disk: it may be full, or read-only
            stdin.write(json.dumps(question).encode())
            stdin.seek(0)
            return subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(writing,),
                start_new_session=True,
                env=environment,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=os.getgrouplist(account.name, account.gid) if account else None,
                cwd="/" if account else None,  # ours may be out of its reach
            )
    except OSError as error:
        raise NoAnswerError(f"cannot be started: {error.strerror or error}") from None
    finally:
        os.close(writing)


def _collect(process: subprocess.Popen[bytes], answer: int, deadline: float) -> tuple[bytes, bytes]:
    """Read until the answer's end; return it and the end of standard error. Raises NoAnswerError."""
    assert process.stderr is not None  # noqa: S101  # it is a pipe: see _start
    stderr = process.stderr.fileno()
    read = {answer: b"", stderr: b""}
    end = time.monotonic() + deadline
    with selectors.DefaultSelector() as selector:
        for descriptor in read:
            selector.register(descriptor, selectors.EVENT_READ)
        while answer in selector.get_map():
            if time.monotonic() >= end:
                raise NoAnswerError(f"gave no answer within {deadline:g} s")
            for key, _ in selector.select(max(0.0, end - time.monotonic())):
                data = os.read(key.fd, 1 << 16)
                read[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
            read[stderr] = read[stderr][-_STDERR_BYTES:]
            if len(read[answer]) > _ANSWER_BYTES:
                raise NoAnswerError("answered with more than could be an answer")
    return read[answer], read[stderr]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process with all that it started in its group, and reap it.

    Of a process that ended by itself the exit status stays its own: the kernel keeps the first.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def _last_line(stderr: bytes) -> str:
    """Return the last line that says something: in a traceback, the exception."""
    lines = stderr.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
