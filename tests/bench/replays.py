"""How long it takes until the jobs of a ComfyUI that was killed are in its successor's queue."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any

from comfy_supervisor.jobs.job import Tally
from comfy_supervisor.jobs.journal import Journal
from tests.cli.service import Service
from tests.support import wait_until

from .acceptance import submitted
from .bridges import LONG, large, sleeper, verdict
from .report import Report, load, note, table

JOBS = 1000
MOST = 30.0
"""Seconds."""
_PATIENCE = 300.0
HEADER = ("journal", "jobs", "until all are queued", "a job", "at most", "holds")
_HOW = f"""\
A whole service with the stand-in, which is killed while one job runs and {JOBS} more wait, 33 kB each: the seconds
from the first answer of its next life until all are in its queue again. Without the extension, for comparison, the
listener knows them from looks at the queue."""


def measure() -> Report:
    """Measure both ways of keeping jobs."""
    before, rows, missed = load(), [], []
    for extension in (True, False):
        name = "the extension's" if extension else "from outside"
        note(f"jobs: replaying {JOBS} jobs, {name}")
        seconds = _replayed(extension)
        shown = (name, str(JOBS + 1), f"{seconds:.1f} s", f"{seconds / JOBS * 1e3:.1f} ms")
        rows.append((*shown, *((f"{MOST:g} s", verdict(seconds <= MOST)) if extension else ("", ""))))
        if extension and seconds > MOST:
            missed.append(f"replaying {JOBS} jobs")
    return Report(f"{_HOW}\n\nLoad {before} → {load()}:\n\n{table(HEADER, rows)}", missed)


def _replayed(extension: bool) -> float:
    """Kill one with its queue full; return the seconds until its successor's is."""
    with _service(extension) as service:
        journal = Journal(service.state / "cpu", make=False)
        service.submit(sleeper(LONG, int(LONG) * 2))  # as most jobs do, it writes a progress bar
        _submit(service.port)
        wait_until(lambda: journal.tally() == Tally(queued=JOBS, running=1), _PATIENCE, "all in the journal")
        os.kill(service.info().pid, signal.SIGKILL)
        wait_until(lambda: _remaining(service.port) is None, what="its end")
        wait_until(lambda: _remaining(service.port) is not None, _PATIENCE, "its next life")
        began = time.monotonic()
        wait_until(lambda: _remaining(service.port) == JOBS + 1, _PATIENCE, "all in the queue")
        took = time.monotonic() - began
        journal.close()
        service.ok("down")
    return took


@contextmanager
def _service(extension: bool) -> Iterator[Service]:
    """Give a service that is idle."""
    service = Service(apart=True)
    try:
        service.settings(jobs={"extension": extension})
        service.ok("up", "-d")
        status = service.state / "cpu" / "status.json"
        wait_until(lambda: status.exists() and json.loads(status.read_text())["word"] == "IDLE", 60, "IDLE")
        yield service
    finally:
        service.close()


def _submit(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps({"prompt": large()}).encode()
    for _ in range(JOBS):
        submitted(connection, body)
    connection.close()


def _remaining(port: int) -> int | None:
    """Return how many jobs are in the queue; None: nobody answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/prompt")
        told: dict[str, Any] = json.loads(connection.getresponse().read())
        return int(told["exec_info"]["queue_remaining"])
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
