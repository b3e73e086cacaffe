"""Questions to ComfyUI's API, timed: bounded in seconds and bytes, never an exception."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from ..bounded import Client, in_words

LONGEST = 64 * 1024 * 1024
"""Bytes of an answer that are read: a queue holds each job's graph."""
DEADLINE = 10.0
"""Seconds for a whole answer."""
OK = 200


@dataclass(frozen=True)
class Answer:
    """What was answered."""

    status: int
    """HTTP's; 0: nothing was."""
    body: bytes
    seconds: float
    """From the question to the answer's last byte."""
    trouble: str = ""
    """Why there is no good answer."""

    @property
    def value(self) -> Any:
        """The body's JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def ask(client: Client, path: str, body: object = None, *, deadline: float = DEADLINE) -> Answer:
    """Ask for a path; a ``body`` is posted as JSON, once."""
    began = time.perf_counter()
    try:
        with client.ask(path, deadline, body, once=body is not None) as answer:
            content = answer.read(LONGEST)
            trouble = "" if answer.status == OK else f"HTTP {answer.status}"
            return Answer(answer.status, content, time.perf_counter() - began, trouble)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer
        return Answer(0, b"", time.perf_counter() - began, in_words(error, deadline))
