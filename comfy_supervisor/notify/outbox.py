"""Messages that are still to be sent, on disk: whole or not at all, closed to others, few and not old.

What can't be written is kept in memory alone: it is sent all the same, unless we end before.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..launch import records
from .message import Message

COLLECTING = "collecting.json"
"""What is gathered for the next message."""
_NAME = re.compile(r"\d{10,20}-\d+\.json")
_MOST_BYTES = 1024 * 1024


@dataclass
class Waiting:
    """When a receiver is to be tried again."""

    tries: int = 0
    next: float = 0.0
    """Seconds since the epoch."""


@dataclass
class Entry:
    """One message, and by their ids the receivers that have not got it."""

    at: float
    message: Message
    left: dict[str, Waiting] = field(default_factory=dict)


class Outbox:
    """The messages; to be used by one thread. Nothing here raises."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder's name; ``load`` reads it."""
        self._folder = folder
        self._count = 0
        self.trouble = ""
        """Why something could not be written last; empty: nothing is wrong."""
        self.entries: dict[str, Entry] = {}
        """By the names of their files, the oldest first."""

    def load(self) -> dict[str, Any] | None:
        """Take up what an earlier one has left; return what was being gathered, None if nothing was."""
        with suppress(OSError):
            names = sorted(path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name))
            for name in names:
                found = _entry(self._read(name))
                if found is None:
                    self._remove(name)
                else:
                    self.entries[name] = found
        return self._read(COLLECTING)

    def put(self, entry: Entry, keep: int) -> None:
        """Add a message; the oldest go where there are more than ``keep``."""
        self._count += 1
        name = f"{int(entry.at * 1000):015d}-{self._count}.json"
        self.entries[name] = entry
        self.update(name)
        for oldest in list(self.entries)[: max(0, len(self.entries) - keep)]:
            self.drop(oldest)

    def update(self, name: str) -> None:
        """Write down how far a message is; one that everybody has got is done."""
        if self.entries[name].left:
            self._write(name, {"v": 1, **asdict(self.entries[name])})
        else:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Forget a message."""
        del self.entries[name]
        self._remove(name)

    def gather(self, values: dict[str, Any] | None) -> None:
        """Write down what is gathered for the next message; None: nothing is."""
        if values is None:
            self._remove(COLLECTING)
        else:
            self._write(COLLECTING, {"v": 1, **values})

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            with open(self._folder / name, "rb", opener=records.open_plain) as file:
                values = json.loads(file.read(_MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        return values if isinstance(values, dict) else None

    def _write(self, name: str, values: dict[str, Any]) -> None:
        temporary = self._folder / f".{name}.tmp"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(values, file)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(self._folder / name)
            self.trouble = ""
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            self.trouble = f"{self._folder} can't be written ({error.strerror}): alerts are kept in memory alone"

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            (self._folder / name).unlink(missing_ok=True)


def _entry(values: dict[str, Any] | None) -> Entry | None:
    """Return the entry that a file holds; None if it makes no sense."""
    try:
        if values is None:
            return None
        told = values["message"]
        message = Message(str(told["subject"]), str(told["text"]), str(told["host"]), tuple(told["events"]))
        left = {key: Waiting(int(each["tries"]), float(each["next"])) for key, each in values["left"].items()}
        return Entry(float(values["at"]), message, left)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return None
