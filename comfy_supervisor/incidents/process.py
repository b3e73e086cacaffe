"""What the kernel tells of a process, and of all that it started, while it lives."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from .mask import is_secret_name
from .parts import MissingError

_MOST_PROCESSES = 64
_MOST_DESCRIPTORS = 8192
_MOST_FILES = 100
_LONGEST = 2000
"""Characters of a command line that are kept."""
_MIB = 1024 * 1024


def tree(pid: int) -> list[dict[str, Any]]:
    """Return a process and what it has started, a row each; raises MissingError if it is gone."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error as error:
        raise MissingError(_why(error)) from error
    return [row for each in family[:_MOST_PROCESSES] if (row := _row(each))]


def _row(process: psutil.Process) -> dict[str, Any] | None:
    with suppress(psutil.Error), process.oneshot():
        times = process.cpu_times()
        return {
            "pid": process.pid,
            "parent": process.ppid(),
            "name": process.name(),
            "command": [word[:_LONGEST] for word in process.cmdline()[:100]],
            "state": process.status(),
            "memory_mib": process.memory_info().rss // _MIB,
            "threads": process.num_threads(),
            "cpu_seconds": round(times.user + times.system, 2),
        }
    return None


def descriptors(pid: int) -> dict[str, Any]:
    """Return how many descriptors a process has open, of which kind, the limit, and its plain files' names."""
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError as error:
        raise MissingError(error.strerror) from error
    targets = []
    for entry in entries[:_MOST_DESCRIPTORS]:
        with suppress(OSError):
            targets.append(str(entry.readlink()))
    kinds = Counter(_kind(target) for target in targets)
    files = sorted({target for target in targets if _kind(target) == "file"})
    return {"open": len(entries), "limit": _limit(pid), "kinds": dict(kinds), "files": files[:_MOST_FILES]}


def _kind(target: str) -> str:
    if target.startswith("/dev/"):
        return "device"
    return "file" if target.startswith("/") else target.partition(":")[0]


def _limit(pid: int) -> int | None:
    with suppress(psutil.Error, OSError):
        return psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)[0]
    return None


def secrets(pid: int) -> frozenset[str]:
    """Return the values of those environment variables of a process whose names say that they are secret.

    A path is none, though PWD and a file of credentials are called so: it would mask half of each stack.
    """
    with suppress(psutil.Error):
        found = psutil.Process(pid).environ().items()
        return frozenset(value for name, value in found if is_secret_name(name) and not value.startswith("/"))
    return frozenset()


def machine(folder: str) -> dict[str, Any]:
    """Return the machine's memory, load, and what is free of the disk under a folder."""
    memory, swap, disk = psutil.virtual_memory(), psutil.swap_memory(), psutil.disk_usage(folder)
    return {
        "memory_mib": memory.total // _MIB,
        "memory_available_mib": memory.available // _MIB,
        "swap_used_mib": swap.used // _MIB,
        "load": [round(each, 2) for each in os.getloadavg()],
        "disk_free_mib": disk.free // _MIB,
    }


def command(pid: int) -> list[str]:
    """Return a process's command line, the one that the launcher is to become where it is that; empty: gone."""
    with suppress(psutil.Error):
        words = psutil.Process(pid).cmdline()
        return words[words.index("--") + 1 :] if "comfy_supervisor.launch" in words and "--" in words else words
    return []


def _why(error: psutil.Error) -> str:
    return "it is gone" if isinstance(error, psutil.NoSuchProcess) else str(error) or type(error).__name__


def torch_version(python: str) -> str:
    """Return the version of the torch that an interpreter's environment has; empty: none was found."""
    library = Path(python).parent.parent / "lib"
    for file in sorted(library.glob("python3*/site-packages/torch/version.py"))[:1]:
        with suppress(OSError, UnicodeDecodeError):
            for line in file.read_text(encoding="utf-8").split("\n"):
                if line.startswith("__version__"):
                    return line.partition("=")[2].strip().strip("'\"")
    return ""
