"""The one place where the launcher waits: for a hold to be lifted, for a trouble to go away."""

from __future__ import annotations

import os
import signal
import sys
import time

from . import holds, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_POLL = 0.3
"""Seconds between two looks at a hold."""
_SLOW_POLL = 2.0
"""Seconds between two looks at a trouble outside, such as a taken port."""

STOPS = (signal.SIGINT, signal.SIGTERM)
"""By which supervisord, for somebody, ends the launcher. They are blocked, and heard at each pause and before the exec:
a handler's exception might come at any line."""


class StoppedError(Exception):
    """Somebody stops the launcher while it waits."""


class OrphanedError(Exception):
    """Whoever started the launcher is gone; its successor starts another one."""


class Gate:
    """Keeps one instance waiting, and tells its log why."""

    def __init__(self, run: str, program: str, supervised: bool) -> None:
        """Keep the instance's run folder and its name for supervisorctl.

        A wait ends with StoppedError when somebody stops the launcher; STOPS stay blocked after it.
        With ``supervised`` a wait ends with OrphanedError when the parent process dies: a launcher that
        outlives its supervisord would one day start a second ComfyUI.
        """
        self._run = run
        self._program = program
        self._can_write = True
        self._parent = os.getppid() if supervised else 0

    def say(self, text: str) -> None:
        """Write one line to ComfyUI's log."""
        line = " ".join(text.split())
        try:
            sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} comfy-supervisor: {line}\n")
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            return  # nobody listens: no reason not to start

    def drop_own(self) -> None:
        """Remove a hold that a launcher put up: this one, or one that was killed while it waited."""
        hold = self._read()
        if hold and hold.by == holds.LAUNCHER:
            holds.clear(self._run, only=hold)

    def pass_holds(self) -> bool:
        """Wait until no hold is in force; return whether there was one."""
        held = False
        while hold := self._read():
            if hold.is_over(time.time(), 0.0):
                holds.clear(self._run, only=hold)
                break
            held = True
            self._sit_out(hold, stored=True)
        return held

    def back_off(self, reason: str, text: str, seconds: float, cause: str = "") -> bool:
        """Put a hold up for some seconds and wait; return False if somebody lifted it before its time."""
        now = time.time()
        hold = holds.Hold(reason, text, now, now + seconds, holds.LAUNCHER, cause)
        return self._sit_out(hold, stored=self._put_up(hold))

    def wait_while(self, trouble: Callable[[], tuple[str, str]], reason: str) -> None:
        """Wait, with a hold put up, while ``trouble`` has something to say: a text, and the cause's id, if any."""
        hold = holds.Hold(reason, "", 0.0)
        while (found := trouble())[0]:
            text, cause = found
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            news = text != hold.text
            if news:
                hold = holds.Hold(reason, text, time.time(), by=holds.LAUNCHER, cause=cause)
                self.drop_own()
            if self._read() is None:
                self._put_up(hold)
            if news:
                self.say(f"not started: {text}; starts by itself when that has changed")
            self._pause(_SLOW_POLL)
        if hold.text:
            holds.clear(self._run, only=hold)
            self.say("what was in the way is gone")

    def _sit_out(self, hold: holds.Hold, stored: bool) -> bool:
        """Wait until a hold is over, or another one takes its place; return False if somebody lifted it before."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        began = time.monotonic()
        self.say(f"waiting ({hold.reason}): {hold.text}; to start it now: comfy-supervisor start {self._program}")
        while not hold.is_over(time.time(), time.monotonic() - began):
            found = self._read()
            if stored and found is None:
                self.say("the hold was lifted")
                return False
            if stored and found != hold:
                return True
            self._pause(_POLL)
        holds.clear(self._run, only=hold)
        self.say("the wait is over")
        return True

    def _pause(self, seconds: float) -> None:
        if self._parent and os.getppid() != self._parent:
            raise OrphanedError
        if signal.sigtimedwait(STOPS, seconds):
            raise StoppedError

    def _read(self) -> holds.Hold | None:
        """Return the hold on disk; one that makes no sense is set aside and said."""
        try:
            return holds.read(self._run)
        except records.MalformedError as error:
            self.say(f"{error}; set aside")
            records.set_aside(holds.path(self._run))
            return None

    def _put_up(self, hold: holds.Hold) -> bool:
        """Write a hold, unless there is one; return False if it isn't written."""
        try:
            holds.write(self._run, hold, replace=False)
        except FileExistsError:
            return False
        except OSError as error:
            if self._can_write:
                self.say(f"{holds.path(self._run)} can't be written: {error.strerror}")
            self._can_write = False
            return False
        return True
