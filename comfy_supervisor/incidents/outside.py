"""What is asked of others, each within a time of its own: ComfyUI's API, py-spy, NVML, the log, the journal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import gpu
from ..bounded import Client, in_words
from ..comfyui.version import read_version
from ..jobs.job import Job, Process, State
from ..jobs.journal import Journal, JournalError
from ..launch import records
from . import process
from .mask import decoded
from .parts import MissingError

DEADLINE = 1.5
"""Seconds for an answer of ComfyUI's."""
SPY_DEADLINE = 2.5
GPU_DEADLINE = 2.0
MOST_OF_QUEUE = 16 * 1024 * 1024
"""Bytes of the queue that are read."""
_OK = 200


@dataclass(frozen=True)
class Queue:
    """ComfyUI's queue."""

    running: tuple[str, ...]
    waiting: tuple[str, ...]
    graph: Any = None
    """The running job's."""


def queue(url: str) -> Queue:
    """Return what ComfyUI has in its queue."""
    found = _told(url, "/queue", MOST_OF_QUEUE)
    try:
        running, pending = found["queue_running"], found["queue_pending"]
        waiting = tuple(str(item[1]) for item in sorted(pending, key=lambda item: item[0]))
        return Queue(tuple(str(item[1]) for item in running), waiting, running[0][2] if running else None)
    except (LookupError, TypeError) as error:
        raise MissingError("its answer makes no sense") from error


def system(url: str) -> Mapping[str, str]:
    """Return the versions that ComfyUI itself tells."""
    found = _told(url, "/system_stats", 256 * 1024)
    try:
        told = found["system"]
        names = {"comfyui_version": "ComfyUI", "pytorch_version": "torch", "python_version": "Python"}
        return {name: str(told[key]) for key, name in names.items() if told.get(key)}
    except (LookupError, TypeError, AttributeError) as error:
        raise MissingError("its answer makes no sense") from error


def _told(url: str, path: str, most: int) -> Any:
    """Return the JSON of an answer; raises MissingError in words where there is none."""
    try:
        return json.loads(_answered(url, path, most))
    except MissingError:
        raise
    except ValueError as error:
        raise MissingError("its answer makes no sense") from error
    except Exception as error:
        raise MissingError(in_words(error, DEADLINE)) from error


def _answered(url: str, path: str, most: int) -> bytes:
    with closing(Client(url)) as client, client.ask(path, DEADLINE) as answer:
        if answer.status != _OK:
            raise MissingError(f"HTTP {answer.status}")
        body = answer.read(most + 1)
        if len(body) > most:
            raise MissingError(f"more than {most // 1024**2} MiB")
        return body


def installed(pid: int) -> Mapping[str, str]:
    """Return the versions of what a process runs, or is to run, as they lie on the disk."""
    command = process.command(pid)
    main = next((word for word in command[1:] if word.endswith(".py")), "")
    if not main:
        raise MissingError("no such process")
    versions = {"ComfyUI": read_version(Path(main).parent), "torch": process.torch_version(command[0])}
    return {name: version for name, version in versions.items() if version}


def py_spy(pid: int) -> str:
    """Return every thread's stack as py-spy sees it, where that is installed and may look."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which("py-spy") or shutil.which("py-spy", path=beside)
    if program is None:
        raise MissingError("not installed")
    arguments = [program, "dump", "--full-filenames", "--pid", str(pid)]  # else a file's folder isn't told
    try:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=SPY_DEADLINE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"not within {SPY_DEADLINE:g} s") from error
    if done.returncode:
        said = decoded(done.stderr).strip().partition("\n")[0]  # what is wrong first, then its own stack
        raise MissingError(said or f"exit status {done.returncode}")
    return decoded(done.stdout)


def gpus() -> list[dict[str, Any]]:
    """Return each GPU's memory and use, as NVML tells; raises MissingError if it doesn't."""
    found = gpu.use(deadline=GPU_DEADLINE)
    if not found:
        raise MissingError("NVML tells nothing")
    return [vars(use) for use in found.values()]


@dataclass(frozen=True)
class Mark:
    """Where a log ended at a moment."""

    inode: int = 0
    size: int = 0


def mark(file: str) -> Mark:
    """Return where a log ends now."""
    with suppress(OSError):
        status = Path(file).stat()
        return Mark(status.st_ino, status.st_size)
    return Mark()


def log_until(file: str, until: Mark | None, most: int) -> str:
    """Return the last bytes of a log, up to a mark if one is given: the whole lines among them; raises OSError."""
    with open(file, "rb", opener=records.open_plain) as log:
        status = os.fstat(log.fileno())
        end = min(until.size, status.st_size) if until and until.inode == status.st_ino else status.st_size
        begin = max(0, end - most)
        log.seek(begin)
        content = log.read(end - begin)
    return decoded(content.split(b"\n", 1)[-1] if begin else content)


def log_since(file: str, since: Mark, most: int) -> str:
    """Return the first bytes that a log has got since a mark; of one that was rotated, its first; raises OSError."""
    with open(file, "rb", opener=records.open_plain) as log:
        log.seek(since.size if os.fstat(log.fileno()).st_ino == since.inode else 0)
        return decoded(log.read(most))


def plain_file(file: str, since: int, most: int) -> str:
    """Return the end of a plain file from an offset on, so many bytes at most; raises OSError."""
    with open(file, "rb", opener=records.open_plain) as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(since if since < size else 0, size - most))
        return decoded(stream.read(most))


@dataclass(frozen=True)
class Kept:
    """What the journal has of a life's jobs."""

    running: tuple[Job, ...] = ()
    waiting: tuple[Job, ...] = ()
    body: Any = None
    """The running job's graph and what came with it."""


def journal(state: str, of: Process) -> Kept:
    """Return the jobs that a process had in its queue, as the journal has them."""
    with closing(Journal(state, make=False)) as journal:
        if not journal.exists:
            raise MissingError("there is none")
        try:
            life = journal.newest_life()
            if life is None or not life.is_of(of):
                life = next((each for each in journal.unsettled(None) if each.is_of(of)), None)
            if life is None:
                raise MissingError("it knows nothing of this process")
            jobs = journal.in_queue(life)
            running = tuple(job for job in jobs if job.state is State.RUNNING)
            body = journal.body(running[0].seq) if running else None
        except JournalError as error:
            raise MissingError(str(error)) from error
    return Kept(running, tuple(job for job in jobs if job.state is State.QUEUED), body)
