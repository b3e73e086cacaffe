"""What the listener has done to an instance, told from its decisions as they are written down."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from .. import codec
from ..launch import lastword, records
from .ledger import DECISIONS
from .policy.evidence import Deed, Verdict

_MARK = b'"deed":'
"""What a decision's line has only if something was done: the rest need not be read as JSON."""


@dataclass(frozen=True)
class Done:
    """One deed."""

    at: datetime
    told: str
    """The word, the deed and the reason, in one line."""


class Deeds:
    """One instance's deeds, followed through the rotations of their file."""

    def __init__(self, folder: Path) -> None:
        """Keep the instance's state folder; reads nothing yet."""
        self._file = folder / DECISIONS
        self._stream: BinaryIO | None = None
        self._begun = b""

    def news(self) -> list[Done]:
        """Return what was done since the last call, the oldest first; at first, all that the file tells.

        A file that can't be read tells nothing.
        """
        text = self._begun
        with contextlib.suppress(OSError):
            self._stream = self._stream or _opened(self._file)
            while self._is_replaced(self._stream):
                following = _opened(self._file)
                text += self._stream.read()
                self._stream.close()
                self._stream = following
            text += self._stream.read()
        *lines, self._begun = text.split(b"\n")
        return [done for line in lines if (done := _done(line))]

    def _is_replaced(self, stream: BinaryIO) -> bool:
        return not os.path.samestat(os.fstat(stream.fileno()), self._file.stat())


def _opened(file: Path) -> BinaryIO:
    return open(file, "rb", opener=records.open_plain)  # pathlib takes no opener; it is kept


def _done(line: bytes) -> Done | None:
    """Return the deed that a decision's line tells; None if there is none, or it makes no sense."""
    if _MARK not in line:
        return None
    try:
        decision = json.loads(line)
        at, verdict = datetime.fromisoformat(decision["at"]), codec.understood(Verdict, decision["verdict"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return None if verdict.deed is Deed.NOTHING else Done(at, lastword.printable(verdict.told))
