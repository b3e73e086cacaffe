"""The thread that tells: gathers events, writes messages down, sends them, tries again. Nobody ever waits for it."""

from __future__ import annotations

import os
import queue
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from . import config as configuration
from .collect import Collector, delay
from .config import Config, Receiver
from .message import Event, Message, compose
from .outbox import Entry, Outbox, Waiting
from .receivers import send

_TURN = 1.0
"""Seconds after which the settings are looked at, though nothing happens."""
_LOOK = 0.25
"""Seconds between two looks whether an incident is written by now."""
INCIDENT = 15.0
"""Seconds more that a message waits for the incidents of what it tells, which are written meanwhile."""
_MOST_WAITING = 1000
"""Events that wait to be gathered while a receiver is slow; those beyond are left out."""


class Sender:
    """One listener's; ``tell`` is for any thread, and returns at once. Nothing here raises."""

    def __init__(self, state: Path, host: str, say: Callable[[str], None]) -> None:
        """Keep the state folder's name, and the machine's; reads nothing yet."""
        self.explain: Callable[[Event], Event | None] = lambda event: event
        """Returns an event with what its incident says of it; None: that is not written yet. Called by our thread."""
        self._file = state / configuration.FILE
        self._outbox = Outbox(state / configuration.FOLDER)
        self._host = host
        self._say = say
        self._events: queue.Queue[Event] = queue.Queue(_MOST_WAITING)
        self._collector = Collector()
        self._config = Config()
        self._stamp: tuple[int, int] | None = (0, 0)
        self._failing: dict[str, str] = {}
        """By receiver, why it was not reached last."""
        self._trouble = ""
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin, with what an earlier one has left."""
        threading.Thread(target=self._run, name="notify", daemon=True).start()

    def tell(self, event: Event) -> None:
        """Have something told, if anybody wants to hear it."""
        with suppress(queue.Full):
            self._events.put_nowait(event)

    def end(self) -> None:
        """Tell no more; what is left is the next one's."""
        self._ended.set()

    def _run(self) -> None:
        self._guarded(self._take_up)
        while not self._ended.is_set():
            self._guarded(self._turn)

    def _guarded(self, deed: Callable[[], None]) -> None:
        try:
            deed()
        except Exception:  # noqa: BLE001  # a bug of ours must not end the thread
            self._say(f"alerts: our own error: {traceback.format_exc()}")
            self._ended.wait(_TURN)

    def _take_up(self) -> None:
        gathered = self._outbox.load()
        with suppress(ValueError, TypeError, LookupError):
            if gathered:
                self._collector.restore(gathered)

    def _turn(self) -> None:
        """Wait for an event, or for what is due; then do that."""
        with suppress(queue.Empty):
            self._gather_all(self._events.get(timeout=self._patience(time.time())))
        if self._ended.is_set():
            return
        self._gather_all()
        self._close(time.time())
        self._deliver()
        self._tell_trouble()

    def _patience(self, now: float) -> float:
        """Return for how many seconds nothing is to be done."""
        due = self._collector.due(now, self._config.collect)
        due = _LOOK if due == 0.0 else due  # its incident is still being written
        nexts = [waiting.next - now for entry in self._outbox.entries.values() for waiting in entry.left.values()]
        return max(0.01, min([_TURN, *nexts, *([] if due is None else [due])]))

    def _follow(self) -> None:
        """Read the settings anew if they have changed."""
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = None
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._config = configuration.read(self._file)
        except (OSError, ValueError) as error:
            self._say(f"alerts: {self._file} can't be read, so nobody is told anything: {type(error).__name__}")
            self._config = Config()
        names = ", ".join(receiver.name for receiver in self._config.receivers)
        self._failing.clear()
        if names:
            self._say(f"alerts go to {names}")

    def _gather_all(self, *first: Event) -> None:
        """Take what was told by now, and write it down."""
        told = list(first)
        with suppress(queue.Empty):
            while True:
                told.append(self._events.get_nowait())
        self._follow()
        wanted = [event for event in told if event.kind.value in self._config.on and self._config.receivers]
        for event in wanted:
            self._collector.add(event, time.time())
        if wanted:
            self._outbox.gather(self._collector.values())

    def _close(self, now: float) -> None:
        """Make a message of what is gathered, if it is time."""
        if self._collector.due(now, self._config.collect) != 0.0:
            return
        told = [(each, self.explain(each)) for each in self._collector.events.values()]
        patient = self._collector.due(now, self._config.collect + INCIDENT) != 0.0
        if patient and any(explained is None for _, explained in told):
            return
        events = sorted((explained or each for each, explained in told), key=lambda each: each.at)
        message = compose(events, self._host, self._collector.left_out)
        left = {receiver.id: Waiting() for receiver in self._config.receivers}
        if left:
            self._outbox.put(Entry(now, message, left), self._config.keep)
        self._collector.clear()
        self._outbox.gather(None)

    def _deliver(self) -> None:
        """Try each message at each receiver whose time has come; of a receiver that fails, one message is enough."""
        receivers = {receiver.id: receiver for receiver in self._config.receivers}
        silent: set[str] = set()
        for name, entry in tuple(self._outbox.entries.items()):
            now = time.time()
            if now - entry.at > self._config.max_age:
                self._say(f"alerts: given up after {self._config.max_age:.0f} s: {entry.message.subject}")
                self._outbox.drop(name)
                continue
            before = len(entry.left)
            entry.left = {key: waiting for key, waiting in entry.left.items() if key in receivers}
            due = [key for key, waiting in entry.left.items() if waiting.next <= now and key not in silent]
            for key in due:
                if self._ended.is_set():
                    return
                if not self._try(entry, receivers[key]):
                    silent.add(key)
                self._gather_all()
            if due or len(entry.left) != before:
                self._outbox.update(name)

    def _try(self, entry: Entry, receiver: Receiver) -> bool:
        """Send one message to one receiver; return whether it has it."""
        waiting = entry.left[receiver.id]
        trouble = send(receiver, entry.message, os.environ)
        if trouble != self._failing.get(receiver.id, ""):
            told = f"can't be told ({trouble}); tried again" if trouble else "can be told again"
            self._say(f"alerts: {receiver.name} {told}")
            self._failing[receiver.id] = trouble
        if not trouble:
            del entry.left[receiver.id]
            return True
        waiting.tries += 1
        waiting.next = time.time() + delay(waiting.tries)
        return False

    def _tell_trouble(self) -> None:
        if self._outbox.trouble != self._trouble:
            self._trouble = self._outbox.trouble
            self._say(f"alerts: {self._trouble or 'what is to be sent is written down again'}")


def tested(config: Config, host: str) -> list[tuple[Receiver, str]]:
    """Send a message that says it is a test to each receiver; return why each was not reached, empty if it was."""
    text = "This is a test of comfy-supervisor's alerts: nothing has happened."
    message = Message(f"{host}: a test of comfy-supervisor's alerts", text, host)
    return [(receiver, send(receiver, message, os.environ)) for receiver in config.receivers]
