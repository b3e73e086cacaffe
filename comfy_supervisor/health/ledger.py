"""What the listener leaves behind of an instance: ``status.json`` for the moment, ``decisions.jsonl`` for ever."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import codec
from ..incidents.incident import Moment
from ..launch import lastword, records
from .policy.evidence import Deed, Observation, State, Verdict, Word
from .policy.rules import Rules
from .watched import Watched

STATUS = "status.json"
DECISIONS = "decisions.jsonl"
MOST_BYTES = 8 * 1024 * 1024
"""Size at which the decisions' file is put aside; one such file is kept."""
REFRESH = 30.0
"""Seconds after which the status is written though nothing has changed: its age tells whether we live."""
_REFRESH_LIVELY = 1.0
"""The same where somebody may be watching."""
_TAIL = 512 * 1024
"""Bytes of the decisions that an incident's timeline is taken from."""
_LONGEST = 1024 * 1024
"""Bytes of a line that is read; a decision has some thousand."""
_HISTORY = 3600.0
_MOST_MOMENTS = 40
_CALM = frozenset({Word.STOPPED, Word.IDLE, Word.BUSY, Word.GAVE_UP, Word.GPU_FAULT})


@dataclass(frozen=True)
class Decision:
    """One change of an instance's state, or one deed, with all that led to it."""

    at: str
    """UTC, for people."""
    instance: str
    now: float
    rules: Rules
    before: State
    seen: Observation
    verdict: Verdict


@dataclass(frozen=True)
class Saved:
    """What an earlier listener remembered."""

    boot_id: str
    state: State


@dataclass(frozen=True)
class Report:
    """What the listener says of an instance, for those who ask. Times are seconds since the epoch."""

    word: str
    since: float
    cause: str
    reason: str
    at: float
    """When it said so."""
    maintenance: bool = False
    answered: float | None = None
    """The last good answer of the API."""
    running: str | None = None
    """The prompt_id of the running job."""
    progress: float | None = None
    """When that made a step last."""
    restarts: tuple[float, ...] = ()
    """Deaths and restarts that count against the budget."""
    budget: int = 0
    window_seconds: float = 0.0
    given_up: bool = False


def report(folder: Path, now: float) -> Report | None:
    """Return what the listener said of the instance with this state folder; None: nothing, or too long ago."""
    try:
        record = records.read(str(folder / STATUS))
        found = codec.understood(Report, record) if record else None
    except (records.MalformedError, codec.MalformedError):
        return None
    if found is None or abs(now - found.at) >= 3 * REFRESH:
        return None
    running = found.running and lastword.printable(found.running)
    return replace(found, reason=lastword.printable(found.reason), running=running)


class Ledger:
    """Keeps one instance's files; a full disk costs them, and nothing else."""

    def __init__(self, watched: Watched, boot_id: str) -> None:
        """Keep the names; writes nothing."""
        self._watched = watched
        self._boot_id = boot_id
        self._folder = Path(watched.state)
        self._written: tuple[object, ...] = ()
        self._written_at = 0.0
        self._troubles: dict[str, str] = {}

    @property
    def trouble(self) -> str:
        """Why something could not be written last; empty: nothing is wrong."""
        return "; ".join(self._troubles.values())

    def recall(self) -> State:
        """Return what was remembered when the last listener wrote, if that was in this boot."""
        try:
            record = records.read(str(self._folder / STATUS)) or {}
            saved = codec.understood(Saved, record.get("memory"))
        except (records.MalformedError, codec.MalformedError):
            return State()
        return saved.state if saved.boot_id == self._boot_id else State()

    def enter(self, decision: Decision) -> None:
        """Add a line to the decisions, if it tells anything new."""
        before, verdict = decision.before, decision.verdict
        if verdict.deed is Deed.NOTHING and (before.word, before.cause) == (verdict.word, verdict.cause):
            return
        line = json.dumps({"v": 1, **codec.changed(decision)}, separators=(",", ":"))
        self._attempt(DECISIONS, lambda: append(self._folder / DECISIONS, line, MOST_BYTES))

    def show(self, state: State, seen: Observation, now: float) -> None:
        """Write the status file, if it tells anything new or is getting old."""
        news = (state.word, state.cause, state.queue, _running(state), state.restarts, state.ended, seen.maintenance)
        refresh = REFRESH if state.word in _CALM else _REFRESH_LIVELY
        if news == self._written and now - self._written_at < refresh:
            return
        record = self._status(state, seen, now)
        if self._attempt(STATUS, lambda: records.write(str(self._folder / STATUS), record)):
            self._written, self._written_at = news, now

    def _status(self, state: State, seen: Observation, now: float) -> dict[str, object]:
        """Return what people and scripts may want to know; times in seconds since the epoch."""
        clock = time.time() - now

        def wall(at: float) -> float:
            return round(at + clock, 3)

        rules = self._watched.rules
        told = Report(
            word=state.word.value,
            since=wall(state.since),
            cause=state.cause,
            reason=state.reason,
            at=wall(now),
            maintenance=seen.maintenance,
            answered=None if state.answered is None else wall(state.answered),
            running=_running(state),
            progress=wall(state.progress) if _running(state) else None,
            restarts=tuple(map(wall, state.restarts)),
            budget=rules.budget,
            window_seconds=rules.window,
            given_up=state.given_up,
        )
        return {
            "v": 1,
            "program": self._watched.program,
            "id": self._watched.id,
            "pid": state.life.pid if state.life else None,
            "queue": seen.queue,
            **vars(told),
            "memory": codec.changed(Saved(self._boot_id, state)),
        }

    def _attempt(self, file: str, write: Callable[[], object]) -> bool:
        try:
            write()
        except OSError as error:
            self._troubles[file] = f"{self._folder / file} can't be written: {error.strerror}"
            return False
        self._troubles.pop(file, None)
        return True


def entries(file: Path) -> Iterator[Any]:
    """Yield the JSON values of a file that ``append`` has written, the oldest first; what is none is passed over."""
    for each in (_aside(file), file):
        with suppress(OSError), open(each, "rb", opener=records.open_plain) as lines:
            while line := lines.readline(_LONGEST):
                with suppress(ValueError, RecursionError):
                    yield json.loads(line)


def _aside(file: Path) -> Path:
    return file.with_suffix(f"{file.suffix}.1")


def append(file: Path, line: str, most: int) -> None:
    """Append a line to a file, which is put aside as ``….1`` where it would grow beyond ``most`` bytes; raises OSError.

    Where ComfyUI's own account owns the folder, neither a link nor a pipe that it put there is written to.
    """
    if file.exists() and file.stat().st_size + len(line) > most:
        file.replace(_aside(file))
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        _write_whole(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)


def moments(file: Path, at: float) -> tuple[Moment, ...]:
    """Return the verdicts of the last hour before ``at``, seconds since the epoch, and since; the oldest first."""
    found: list[Moment] = []
    for line in _last_lines(file):
        try:
            decision = json.loads(line)
            when, verdict = datetime.fromisoformat(decision["at"]).timestamp(), decision["verdict"]
            told = (str(verdict.get(name, "")) for name in ("word", "deed", "cause", "reason"))
            if when >= at - _HISTORY:
                found.append(Moment(str(decision["at"]), *told))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
    return tuple(found[-_MOST_MOMENTS:])


def _last_lines(file: Path) -> list[bytes]:
    try:
        with open(file, "rb", opener=records.open_plain) as stream:  # pathlib takes no opener
            return records.tail(stream, _TAIL).split(b"\n")[:-1]
    except OSError:
        return []


def _write_whole(descriptor: int, line: bytes) -> None:
    """Append a line, or nothing: a disk that is all but full takes a part of it. Raises OSError."""
    written = os.write(descriptor, line)
    if written < len(line):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _running(state: State) -> str | None:
    """Return the prompt_id of the running job; None where none runs, or it is not known which one does by now."""
    return state.running if state.running and not state.over else None


def decisions(file: Path) -> Iterator[tuple[int, Decision]]:
    """Yield each decision of a file with the number of its line; raises OSError, codec.MalformedError."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield number, codec.read(Decision, line)
                except codec.MalformedError as error:
                    raise codec.MalformedError(f"{file}:{number}: {error}") from error
