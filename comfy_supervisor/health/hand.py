"""The hand: ends one life of an instance, over XML-RPC, so that supervisord starts the next.

It never stops and starts a program: what is killed in between would stay down. It sends signals, and supervisord,
which sees the process end, starts it again by itself. So nothing here can leave an instance down, and what an
operator stopped is never started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from .. import rpc
from ..launch import holds, records
from . import intent
from .blackbox import BlackBox
from .intent import Intent
from .policy.evidence import Deed, Hand, Life, Verdict
from .senses import stacks
from .watched import Watched

LISTENER = "listener"
"""``by`` of the holds that the listener puts up."""
_POLL = 0.1
_UNKILLABLE = 10.0
"""Seconds after SIGKILL from which a process counts as stuck in the kernel."""
_RETRY = 2.0
"""Seconds between two tries to reach supervisord."""
TRIES = 2
"""How often supervisord is asked to send a signal."""

_STEPS = {"asked": "SIGINT: it was asked to end", "killed": "SIGKILL: it was killed"}
Alive = Callable[[Life], bool]
"""Tells whether a life goes on."""
Say = Callable[[str], None]


class Restarter:
    """Does one thing at a time to one instance, on a thread of its own."""

    def __init__(self, watched: Watched, supervisor: rpc.Supervisor, boot_id: str, alive: Alive, say: Say) -> None:
        """Keep what is needed; does nothing yet."""
        self.box: BlackBox | None = None
        """Is shown each life before it is ended."""
        self._watched = watched
        self._supervisor = supervisor
        self._boot_id = boot_id
        self._alive = alive
        self._say = say
        self._thread: threading.Thread | None = None
        self._earlier: Restarter | None = None
        self._stuck = False

    @property
    def state(self) -> Hand:
        """What it is doing now."""
        if self._earlier and self._earlier.state is not Hand.IDLE:
            return self._earlier.state
        self._earlier = None
        if self._thread is None or not self._thread.is_alive():
            return Hand.IDLE
        return Hand.STUCK if self._stuck else Hand.BUSY

    def carry_out(self, verdict: Verdict) -> None:
        """Put up the verdict's hold, then begin to end the life that it means; returns at once."""
        if verdict.hold:
            self.hold(verdict)
        if verdict.life is None or self.state is not Hand.IDLE:
            return
        action = "kill" if verdict.deed is Deed.KILL else "restart"
        self._begin(
            Intent(
                action,
                verdict.life,
                self._boot_id,
                time.monotonic(),
                reason=verdict.reason,
                cause=verdict.cause,
                word=verdict.word.value,
                deed=verdict.deed.value,
                hold=verdict.hold,
            )
        )

    def follow(self, earlier: Restarter) -> None:
        """Begin nothing before an earlier hand for the same instance, of this listener, is done."""
        self._earlier = earlier

    def resume(self) -> None:
        """Finish what an earlier listener had begun, if that is still to be done, and nobody of ours is at it."""
        left = intent.read(self._watched.state, self._boot_id)
        if left is None or self.state is not Hand.IDLE:
            return
        if self.box:
            self.box.take_over(left)
        if self._alive(left.life):
            self._say(f"{self._watched.program}: finishing the restart that an earlier listener began ({left.reason})")
            self._begin(left)
        else:
            self._tell_over(left)
            intent.clear(self._watched.state)

    def hold(self, verdict: Verdict) -> None:
        """Have the launcher wait at the next start."""
        now = time.time()
        until = None if verdict.hold_seconds is None else now + verdict.hold_seconds
        hold = holds.Hold(verdict.hold, verdict.reason, now, until, LISTENER, verdict.cause)
        try:
            holds.write(self._watched.run, hold)
        except OSError as error:
            self._say(f"{holds.path(self._watched.run)} can't be written: {error.strerror}")

    def lift(self) -> None:
        """Take down a hold of the listener's."""
        try:
            found = holds.read(self._watched.run)
        except records.MalformedError:
            return
        if found and found.by == LISTENER:
            holds.clear(self._watched.run, only=found)

    def _begin(self, what: Intent) -> None:
        self._stuck = False
        self._thread = threading.Thread(target=self._end, args=(what,), name=f"hand-{self._watched.id}", daemon=True)
        self._thread.start()

    def _end(self, what: Intent) -> None:
        """Ask the process to end, then kill it; wait until it is gone. Before, it is looked at while it lives."""
        if what.step == "decided":
            self._look_at(what)
        if what.action == "kill" or self._asked(what):
            self._kill(what)
        self._tell_over(what)  # before it is forgotten: a listener that is killed in between finds it once more
        intent.clear(self._watched.state)

    def _look_at(self, what: Intent) -> None:
        """Have it seen how it is while it still can be; without, it is ended all the same."""
        stopped = what.action == "kill"
        finished = self.box.look(what.life, what.reason, quick=stopped) if self.box else None
        if not stopped:
            self._write_stacks(what.life)
        if finished:
            finished()

    def _tell_over(self, what: Intent) -> None:
        if self.box:
            self.box.over(what.life, what.reason)

    def _asked(self, what: Intent) -> bool:
        """Ask the process to end, and give it the time for that; False: it could not be asked, so it goes on.

        Where an earlier listener asked, it has what is left of its time.
        """
        left = self._watched.stop_seconds
        if what.step == "decided":
            self._note(what, "asked")
            if not self._signal(what.life, "INT"):
                return False
        else:
            left = max(0.0, what.at + left - time.monotonic())
        self._gone(what.life, left)
        return True

    def _write_stacks(self, life: Life) -> None:
        """Have it said where ComfyUI hangs, while it can still be; without, it is ended all the same."""
        file = stacks.written(self._watched.run, life, lambda name: self._signal(life, name))
        if file:
            self._say(f"{self._watched.program}: where its threads were: {file}, {stacks.BEFORE} once it runs again")

    def _kill(self, what: Intent) -> None:
        """Kill the process if it is still there, with all that it started; wait until it is gone."""
        if not self._alive(what.life):
            return
        self._note(what, "killed")
        leads = _leads_group(what.life.pid)
        if not self._signal(what.life, "KILL"):
            return
        if leads:
            with contextlib.suppress(OSError):  # another account's: what it started is ended at the next start
                os.killpg(what.life.pid, signal.SIGKILL)
        if not self._gone(what.life, _UNKILLABLE):
            self._stuck = True
            self._gone(what.life, float("inf"))

    def _note(self, what: Intent, step: str) -> None:
        """Write down what comes next; without a disk it is done all the same."""
        if self.box:
            self.box.step(what.life, _STEPS[step])
        try:
            intent.write(self._watched.state, replace(what, step=step))
        except OSError as error:
            self._say(f"{intent.path(self._watched.state)} can't be written: {error.strerror}")

    def _signal(self, life: Life, name: str) -> bool:
        """Have supervisord send a signal to this life and no other; return False if that can't be done."""
        for _ in range(TRIES):
            process = self._supervisor.process(self._watched.program)
            if isinstance(process, rpc.Process):
                if process.pid != life.pid or process.statename not in rpc.UP or not self._alive(life):
                    return False
                answer = self._supervisor.signal(self._watched.program, name)
                if not isinstance(answer, rpc.Failure):
                    return answer
                process = answer
            self._say(f"{self._watched.program}: SIG{name} could not be sent: {process}")
            time.sleep(_RETRY)
        return False

    def _gone(self, life: Life, patience: float) -> bool:
        """Wait for the end of a life, so many seconds at most."""
        deadline = time.monotonic() + patience
        while self._alive(life):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL)
        return True


def _leads_group(pid: int) -> bool:
    """Tell whether a process leads the group of what it started, as supervisord has it."""
    try:
        return os.getpgid(pid) == pid
    except OSError:
        return False
