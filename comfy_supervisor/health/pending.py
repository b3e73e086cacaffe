"""``pending.json``: the incidents that are still to be written down, so that a listener that is killed loses none.

What only the dead process could have told is lost with the listener; the log, the journal and the decisions are not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from .. import codec
from ..incidents.compose import Case
from ..incidents.incident import Kind
from ..incidents.outside import Mark
from ..launch import records

FILE = "pending.json"
"""In the instance's state folder."""
_MOST = 8
_LONGEST = 2000
"""Characters of a text that are kept."""


@dataclass(frozen=True)
class Begun:
    """What was known at once of one."""

    kind: Kind
    cause: str
    at: float
    reason: str = ""
    word: str = ""
    deed: str = ""
    ending: str = ""
    pid: int = 0
    boot: str = ""
    started: float = 0.0
    running: str = ""
    inode: int = 0
    size: int = 0


@dataclass(frozen=True)
class _File:
    incidents: tuple[Begun, ...] = ()
    v: int = 1


class Pending:
    """One instance's; what can't be written is only lost if the listener is killed."""

    def __init__(self, state: str) -> None:
        """Keep where it lies."""
        self._path = f"{state}/{FILE}"
        self._lock = threading.Lock()
        self._cases: list[Case] = []

    def add(self, case: Case) -> None:
        """Note that an incident is to be written; one that is noted already stays."""
        with self._lock:
            if not any(case is one for one in self._cases):
                self._cases.append(case)
                self._write()

    def remove(self, case: Case) -> None:
        """Note that one is written, or can't be."""
        with self._lock:
            self._cases = [one for one in self._cases if one is not case]
            self._write()

    def left(self, instance: str, program: str) -> Sequence[Case]:
        """Return those that an earlier listener did not come to."""
        try:
            record = records.read(self._path)
            found = codec.understood(_File, record) if record else _File()
        except (records.MalformedError, codec.MalformedError):
            records.set_aside(self._path)
            return ()
        return [_case(one, instance, program) for one in found.incidents]

    def _write(self) -> None:
        with suppress(OSError):
            if self._cases:
                begun = tuple(map(_begun, self._cases[-_MOST:]))
                records.write(self._path, codec.plain(_File(begun)))
            else:
                records.remove(self._path)


def _begun(case: Case) -> Begun:
    reason, word, deed, ending = (text[:_LONGEST] for text in (case.reason, case.word, case.deed, case.ending))
    life = (case.pid, case.boot, case.started)
    mark = (case.mark.inode, case.mark.size)
    return Begun(case.kind, case.cause, case.at, reason, word, deed, ending, *life, case.running, *mark)


def _case(begun: Begun, instance: str, program: str) -> Case:
    case = Case(begun.kind, begun.cause, begun.at, instance, program, begun.reason, begun.word, begun.deed)
    case.ending, case.pid, case.boot, case.started = begun.ending, begun.pid, begun.boot, begun.started
    case.running, case.mark = begun.running, Mark(begun.inode, begun.size)
    case.now = time.monotonic() - max(0.0, time.time() - begun.at)
    return case
