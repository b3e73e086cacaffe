"""Programs that are stopped only to be started again: whoever is killed in between leaves a promise, which others keep.

A promise is a file in the state folder, ``again-….json``, written before the stop and removed after the start. Its
author holds a lock on it, which ends with the author's process. So what is found unlocked is left to be done.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import rpc
from .launch import holds, records

BY = "apply"
"""``by`` of the holds that keep down what stays stopped while supervisord takes its group in."""
_FILES = "again-*.json"
_LAUNCHER = 10.0
"""Seconds for the launcher to run; it takes a tenth of one."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Promise:
    """What is to run again, and what is not."""

    starts: Mapping[str, int] = field(default_factory=dict)
    """Programs that are stopped for it, each with the time of its last start: whoever has started one of them since,
    and stopped it, wants it to stay so."""
    groups: tuple[str, ...] = ()
    """Groups that supervisord is to have."""
    stay: Mapping[str, str] = field(default_factory=dict)
    """Programs of these that stay stopped, each with its run folder."""


@contextlib.contextmanager
def promised(state: Path, promise: Promise) -> Iterator[None]:
    """Leave word, for as long as the block lasts, of what is to be done after it; an error in it leaves that to others.

    Where it can't be written, as on a full disk, the block is carried out all the same.
    """
    with contextlib.ExitStack() as stack:
        file = None
        with contextlib.suppress(OSError):
            file = _write(state, promise, stack)
        yield
        if file:
            file.unlink(missing_ok=True)


def _write(state: Path, promise: Promise, stack: contextlib.ExitStack) -> Path:
    """Write a promise, locked before anybody can find it; its lock ends with the stack."""
    descriptor, name = tempfile.mkstemp(prefix=".again-", suffix=".json", dir=state)
    stack.callback(os.close, descriptor)
    stack.callback(Path(name).unlink, missing_ok=True)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(descriptor, json.dumps({"v": 1, **asdict(promise)}).encode())
    found = Path(name).with_name(Path(name).name.removeprefix("."))
    Path(name).rename(found)
    return found


def finish(state: Path, supervisor: rpc.Supervisor, say: Say) -> None:
    """Keep the promises of those who were killed; what can't be done yet is left for the next time. Raises nothing."""
    for file in sorted(state.glob(_FILES)):
        with contextlib.suppress(OSError), _left(file) as promise:
            if promise is None or _kept(promise, supervisor, say):
                file.unlink(missing_ok=True)


@contextlib.contextmanager
def _left(file: Path) -> Iterator[Promise | None]:
    """Give the promise in a file, None if it makes no sense; raises OSError while its author lives."""
    with open(file, "rb", opener=lambda name, flags: records.open_plain(str(name), flags)) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            data = json.load(stream)
            starts = {str(name): int(start) for name, start in data["starts"].items()}
            stay = {str(name): str(run) for name, run in data["stay"].items()}
            promise = Promise(starts, tuple(map(str, data["groups"])), stay)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            promise = None
        yield promise


def _kept(promise: Promise, supervisor: rpc.Supervisor, say: Say) -> bool:
    """Do what is left of a promise; tell whether all of it is done, or can't be any more."""
    processes = supervisor.processes()
    if isinstance(processes, rpc.Failure):
        return False
    running = {process.program for process in processes if process.pid}
    missing = set(promise.groups) - {process.group for process in processes}
    half_done = [(name, run) for name, run in promise.stay.items() if name in running and _waits(run)]
    answers = [
        *(_told(supervisor.start(name), name, say) for name in _stopped(promise, processes)),
        *(_told(take_in(supervisor, group, promise.stay), group, say) for group in missing),
        *(_put_down(supervisor, name, run) for name, run in half_done),
    ]
    return not any(isinstance(answer, rpc.Unreachable) or _is_early(answer) for answer in answers)


def _stopped(promise: Promise, processes: Iterable[rpc.Process]) -> Iterator[str]:
    """Yield the programs that are stopped, or are being stopped, and have not been started since the promise."""
    for process in processes:
        if process.statename in {"STOPPED", "STOPPING"} and process.start == promise.starts.get(process.program):
            yield process.program


def _told(answer: rpc.Answer[bool], name: str, say: Say) -> rpc.Answer[bool]:
    """Say what was done, if it was."""
    if answer is True:
        say(f"{name}: started again, as a command that was killed had meant to")
    return answer


def _is_early(answer: rpc.Answer[bool]) -> bool:
    return isinstance(answer, rpc.Fault) and answer.name in {"STILL_RUNNING", "SHUTDOWN_STATE"}


def take_in(supervisor: rpc.Supervisor, group: str, stay: Mapping[str, str]) -> rpc.Answer[bool]:
    """Have supervisord take in a group, and start what is to start: all but those that stay stopped.

    supervisord starts whatever it takes in; the launcher, though, waits while a hold is up. ``stay``: the run folder
    of each that is not to run, by its program's name; also those of other groups.
    """
    held = {program: run for program, run in stay.items() if program.split(":")[0] == group}
    for run in held.values():
        text = "was stopped before the settings were taken over, and stays so"
        with contextlib.suppress(OSError):  # it starts, and is stopped then
            holds.write(run, holds.Hold(holds.MAINTENANCE, text, time.time(), by=BY))
    answers = [supervisor.add_group(group)]
    answers += [_put_down(supervisor, program, run) for program, run in held.items()]
    return next((answer for answer in answers if isinstance(answer, rpc.Failure)), True)


def _waits(run: str) -> bool:
    """Tell whether an instance waits at a hold of `take_in`; one that somebody let go on does not."""
    try:
        hold = holds.read(run)
    except records.MalformedError:
        return False
    return hold is not None and hold.by == BY


def _put_down(supervisor: rpc.Supervisor, program: str, run: str) -> rpc.Answer[bool]:
    """Stop a program that waits at a hold of `take_in`, and take that down."""
    _wait_for_launcher(supervisor, program)
    answer = supervisor.stop(program)
    if not isinstance(answer, rpc.Failure):
        holds.clear(run)
    return answer


def _wait_for_launcher(supervisor: rpc.Supervisor, program: str) -> None:
    """Wait until the launcher runs: a signal before that meets supervisord's own handlers, and is lost."""
    deadline = time.monotonic() + _LAUNCHER
    while time.monotonic() < deadline:
        process = supervisor.process(program)
        if isinstance(process, rpc.Failure):
            return
        with contextlib.suppress(OSError):
            if b"comfy_supervisor.launch" in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                return
        time.sleep(0.02)
