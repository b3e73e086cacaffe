"""The listener: watches every instance on a thread of its own, and hears supervisord's events on the main one."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from .. import exchange, rpc
from ..errors import UserError
from ..gpu.watch import Pace as GpuPace
from ..gpu.watch import Watch as GpuWatch
from ..incidents.store import FOLDER as INCIDENTS
from ..launch import lastword
from ..notify.sender import Sender
from . import alarms, protocol, watched
from .policy import fleet
from .policy.evidence import State
from .watch import Watch
from .watched import Watched

_LONGEST_TURN = 120.0
"""Seconds that a look, with all its deadlines, never takes."""
_ROSTER_EVERY = 2.0
"""Seconds between two looks at the file that says what is to be watched."""
_QUICKEST_GPU_LOOKS = 1.0
"""Seconds between two of them: NVML's own figures are no younger."""


def say(text: str) -> None:
    """Write one line to the listener's log."""
    with contextlib.suppress(OSError, ValueError):  # nobody listens: no reason to end
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {lastword.printable(text)}\n")
        sys.stderr.flush()


def _give_up() -> None:
    """End at once, whatever can't be had any more: supervisord starts us anew, and what was begun is finished then."""
    say("our own errors go on: this process ends, and supervisord starts the next one")
    os._exit(3)


class Roster:
    """Those who are watched, after the file that names them, which may change at any time."""

    def __init__(
        self, file: Path, make: Callable[[Watched], Watch], gpus: GpuWatch, each_time: Callable[[], None] = lambda: None
    ) -> None:
        """Keep the file's name, and the watch over the GPUs to tell of; nothing is watched yet.

        ``each_time`` is called whenever the file was looked at.
        """
        self._file = file
        self._each_time = each_time
        self._make = make
        self._gpus = gpus
        self.give_up = _give_up
        """What ends the process when errors of ours go on."""
        self._told_of_gpus = ""
        self._stamp: tuple[int, int] | None = None
        self._watches: dict[str, Watch] = {}
        self._ended = threading.Event()

    def states(self) -> dict[str, State]:
        """Return what is remembered of each instance."""
        return {name: watch.state for name, watch in tuple(self._watches.items())}

    def nudge(self, program: str) -> None:
        """Have an instance looked at now."""
        for watch in tuple(self._watches.values()):
            if watch.watched.program == program:
                watch.nudge()

    def count(self, now: float) -> None:
        """Say which instances have not been looked at for long, as when a file system hangs."""
        for watch in tuple(self._watches.values()):
            lost = now - watch.turned
            if lost > _LONGEST_TURN:
                say(f"{watch.watched.program}: not looked at for {lost:.0f} s: what hangs there?")

    def run(self) -> None:
        """Keep to the file, until the end."""
        while True:
            try:
                self._follow()
                self._tell_of_gpus()
                self._each_time()
            except Exception:  # noqa: BLE001  # a bug of ours, or no thread to be had: the next look may do better
                say(f"our own error: {traceback.format_exc()}")
            if any(watch.errors.go_on for watch in tuple(self._watches.values())):
                self.give_up()
            if self._ended.wait(_ROSTER_EVERY):
                break

    def end(self) -> None:
        """Stop watching; what is being done to an instance is left to the next listener."""
        self._ended.set()
        for watch in tuple(self._watches.values()):
            watch.end()

    def _follow(self) -> None:
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return
            wanted = {each.id: each for each in watched.read(self._file)}
        except (OSError, UserError) as error:
            if self._stamp != (0, 0):
                say(f"what is to be watched can't be read, so nothing changes: {error}")
            self._stamp = (0, 0)
            return
        self._stamp = stamp
        self._exchange(wanted)

    def _tell_of_gpus(self) -> None:
        """Say why nothing is seen of the GPUs, and when something is again; without a GPU in use, nothing."""
        uses = any(watch.watched.gpu for watch in tuple(self._watches.values()))
        trouble = self._gpus.trouble if uses else ""
        if trouble != self._told_of_gpus:
            say(f"the GPUs can't be watched: {trouble}" if trouble else "the GPUs are watched again")
        self._told_of_gpus = trouble

    def _exchange(self, wanted: dict[str, Watched]) -> None:
        """End the watch over those that are gone or changed, begin it over those that are new."""
        earlier: dict[str, Watch] = {}
        for name, watch in tuple(self._watches.items()):
            if wanted.get(name) != watch.watched:
                watch.end()
                earlier[name] = self._watches.pop(name)
        self._gpus.look_every(_pace(wanted.values()))
        for name, each in wanted.items():
            if name not in self._watches:
                watch = self._watches[name] = self._make(each)
                if name in earlier:
                    watch.follow(earlier[name])
                watch.start()
        say(f"watching {', '.join(each.program for each in wanted.values()) or 'nothing'}")


def _pace(all_watched: Iterable[Watched]) -> float:
    """Return how often, in seconds, GPUs are looked at: what a job does shows before it may count as stalled."""
    shortest = min((each.rules.stall_after for each in all_watched if each.gpu), default=math.inf)
    return min(GpuPace.period, max(_QUICKEST_GPU_LOOKS, shortest / 4))


def run(file: Path, url: str, source: BinaryIO, channel: BinaryIO) -> None:
    """Watch and listen until the input ends: supervisord is gone, or wants us to be.

    ``file`` names what is watched, ``url`` is supervisord's address.
    """
    gpus = GpuWatch()
    supervisor = rpc.Supervisor(url)
    gpus.start()
    sender = Sender(file.parent, socket.gethostname(), say)
    sender.explain = lambda told: alarms.explained(told, file.parent / INCIDENTS)
    sender.start()

    def make(each: Watched) -> Watch:
        watch = Watch(each, supervisor, gpus, company, say)
        watch.alarms.tell = sender.tell
        return watch

    roster = Roster(file, make, gpus, lambda: exchange.finish(file.parent, supervisor, say))

    def company(name: str, each: Watched) -> bool:
        return fleet.company(name, roster.states(), each.rules)

    threading.Thread(target=roster.run, name="roster", daemon=True).start()
    try:
        for event in protocol.events(source, channel):
            if event.name.startswith("PROCESS_STATE"):
                roster.nudge(event.program)
            else:
                roster.count(time.monotonic())
    finally:
        roster.end()
        sender.end()
        gpus.close()
