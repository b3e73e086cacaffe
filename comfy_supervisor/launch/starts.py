"""``starts.json``: when ComfyUI was started last, how many lives before were short, and the backoff from it."""

from __future__ import annotations

import time

from . import records


class Start:
    """One start of ComfyUI."""

    def __init__(self, boot_id: str, pid: int, at: float, failures: int, lives: int = 0) -> None:
        """Keep what the next start needs to know.

        ``boot_id`` is the kernel's, ``at`` CLOCK_BOOTTIME (seconds; it neither jumps nor pauses in a suspend),
        ``failures`` the number of short lives in a row that went before, ``lives`` how many times it was started
        since the record began, this one included; 0: not counted.
        """
        self.boot_id = boot_id
        self.pid = pid
        self.at = at
        self.failures = failures
        self.lives = lives


class Backoff:
    """The numbers: no delay after a first short life, then ``first`` seconds, doubled up to ``most``.

    A life of ``healthy`` seconds clears the count.
    """

    def __init__(self, first: float = 10.0, most: float = 300.0, healthy: float = 600.0) -> None:
        """Keep the three numbers, all in seconds."""
        self.first = first
        self.most = most
        self.healthy = healthy

    def delay(self, failures: int) -> float:
        """Return how long to wait (seconds) after this many short lives in a row."""
        if failures < 2:  # noqa: PLR2004
            return 0.0
        doublings = min(failures - 2, 64)
        return float(min(self.first * 2**doublings, self.most))


def backoff(text: str) -> Backoff:
    """Return the backoff written as ``first:most:healthy`` (seconds), the usual one for an empty text.

    Raises ValueError.
    """
    if not text:
        return Backoff()
    first, most, healthy = (float(part) for part in text.split(":"))
    if not 0 < first <= most < float("inf") or not healthy > 0:
        raise ValueError(f"{text!r} is not FIRST:MOST:HEALTHY with 0 < FIRST <= MOST")
    return Backoff(first, most, healthy)


def failures(last: Start, lived: float, ending: str, numbers: Backoff) -> int:
    """Return how many short lives in a row there were, the last one included.

    ``lived`` is how long the last one took (seconds), ``ending`` what supervisord said of its end (see
    lastword), empty if unknown. A life that an operator ended is a fresh start. A clean exit doesn't count:
    that's how ComfyUI-Manager restarts under a supervisor; one in the first seconds does, or a ComfyUI that
    has nothing to do would be started without end.
    """
    if lived >= numbers.healthy or ending.startswith("stopped: "):
        return 0
    clean = ending.startswith("exited: exit status 0;")
    return last.failures if clean and lived >= numbers.first else last.failures + 1


def uptime() -> float:
    """Return the seconds since the machine booted: CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the kernel's name for this boot, empty if it has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def path(state: str) -> str:
    """Return where the record of the instance with this state folder lies."""
    return f"{state}/starts.json"


def load(state: str, boot_id: str, now: float) -> Start | None:
    """Return the last start since the machine booted, None if there was none; raises records.MalformedError.

    ``now`` is CLOCK_BOOTTIME.
    """
    record = records.read(path(state))
    if record is None or record.get("boot_id") != boot_id:
        return None
    try:
        at, pid, count = (records.number(record.get(key)) for key in ("at", "pid", "failures"))
        lives = records.number(record.get("lives", 0))
    except ValueError as error:
        raise records.MalformedError(f"{path(state)}: {error}") from error
    if not 0 <= at <= now or min(count, lives) < 0:
        raise records.MalformedError(f"{path(state)}: a start in the future, or a negative count")
    return Start(boot_id, int(pid), at, int(min(count, 1000)), int(lives))


def save(state: str, start: Start) -> None:
    """Record a start, in place of the one before; raises OSError."""
    records.write(path(state), {"v": 1, **vars(start)})


def forget(state: str) -> None:
    """Remove the record: the next start is a fresh one."""
    records.remove(path(state))
