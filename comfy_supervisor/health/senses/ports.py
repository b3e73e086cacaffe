"""Who listens on a port."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_LISTEN = "0A"


class Port:
    """One port, and the descriptor that was last seen to listen on it."""

    def __init__(self, port: int) -> None:
        """Keep its number; looks at nothing yet."""
        self._suffix = f":{port:04X}"
        self._known: tuple[str, str] | None = None

    def is_held_by(self, pids: Iterable[int], pid: int) -> bool | None:
        """Tell whether one of some processes listens on it, in the network of ``pid``; None: can't be told.

        The kernel's table is only read as long as no descriptor is known that listens: that one never stops to
        until it is closed.
        """
        if self._known and _target(self._known[0]) == self._known[1]:
            return True
        self._known = None
        try:
            sockets = {f"socket:[{inode}]" for inode in _listening(pid, self._suffix)}
        except OSError:
            return None
        return self._find(pids, sockets) if sockets else False

    def _find(self, pids: Iterable[int], sockets: set[str]) -> bool | None:
        unseen = False
        for pid in pids:
            folder = f"/proc/{pid}/fd"
            try:
                descriptors = [entry.name for entry in os.scandir(folder)]
            except OSError:
                unseen = True
                continue
            for descriptor in descriptors:
                target = _target(f"{folder}/{descriptor}")
                if target in sockets:
                    self._known = (f"{folder}/{descriptor}", target)
                    return True
        return None if unseen else False


def _listening(pid: int, suffix: str) -> Iterator[str]:
    """Give the inodes of the sockets that listen on a port. The kernel's tables begin with those that listen."""
    for table in ("tcp", "tcp6"):
        try:
            with Path(f"/proc/{pid}/net/{table}").open(encoding="ascii") as lines:
                next(lines, "")
                for line in lines:
                    fields = line.split()
                    if fields[3] != _LISTEN:
                        break
                    if fields[1].endswith(suffix):
                        yield fields[9]
        except FileNotFoundError:
            continue  # no IPv6, or the process is gone


def _target(descriptor: str) -> str:
    try:
        return os.readlink(descriptor)  # noqa: PTH115  # hundreds of them: a Path would take three times as long
    except OSError:
        return ""
