"""supervisord's event listener protocol, over standard input and output (supervisord.org/events.html).

A single stray byte on the output makes a listener deaf for good, shown as RUNNING all the while; so the output is
taken away from everybody else first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .. import rpc

_MOST_BYTES = 1024 * 1024
"""No event that we subscribe to comes near this."""
_MOST_DIGITS = 7
"""Of a size that is to be read as a number: Python refuses one of thousands."""


@dataclass(frozen=True)
class Event:
    """One event of supervisord's."""

    name: str
    """``PROCESS_STATE_EXITED``, ``TICK_5`` …"""
    payload: dict[str, str]

    @property
    def program(self) -> str:
        """The program that it is about, by its name for supervisorctl; empty: none."""
        return rpc.program_name(self.payload.get("groupname", ""), self.payload.get("processname", ""))


def take_output() -> BinaryIO:
    """Return standard output for the protocol alone; whatever is printed from now on goes to standard error."""
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return channel


def events(source: BinaryIO, channel: BinaryIO) -> Iterator[Event]:
    """Yield each event, acknowledged before it is handed on; ends at the end of the input.

    What makes no sense is skipped: supervisord never sends such, and answering it would do harm.
    """
    channel.write(b"READY\n")
    while line := source.readline():
        header = _tokens(line)
        size = header.get("len", "")
        if not size.isdecimal() or len(size) > _MOST_DIGITS or int(size) > _MOST_BYTES:
            continue
        body = source.read(int(size))
        channel.write(b"RESULT 2\nOKREADY\n")
        yield Event(header.get("eventname", ""), _tokens(body.partition(b"\n")[0]))


def _tokens(line: bytes) -> dict[str, str]:
    words = line.decode("utf-8", "replace").split()
    return dict(word.split(":", 1) for word in words if ":" in word)
