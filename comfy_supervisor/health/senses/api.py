"""What one ComfyUI says of itself over HTTP: bounded in time and in memory, never an exception.

Graphs may hold pictures, and a queue hundreds of graphs, so that the long answers are searched as they come in, and
never held. A search can't be led astray by what stands in a JSON string, where each quote has a backslash before it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from ...bounded import Answer, Client
from ..policy.evidence import Finished, Reply
from .failures import failure
from .trouble import meaning

SHORT = 64 * 1024
"""What a short answer may have, in bytes."""
MEDIUM = 1024 * 1024
"""What one node's description may have: it names the models to choose from."""
LONG = 64 * 1024 * 1024
"""How much of a long answer is searched; one job's graph with pictures in it may well have some megabytes."""
_PIECE = 64 * 1024
_OVERLAP = 1024
"""How much of the piece before is searched again, since what is looked for may lie across the cut."""
_STATUS_BYTES = 256 * 1024
"""How much is kept of a job's status, in which the error's message comes before the inputs of its node."""
_MOST_CLASSES = 4096
_TEXT = 200
"""Characters of an error that are kept."""

_STRING = rb'("[^"\\]*(?:\\.[^"\\]*)*")'
_RUNNING = re.compile(rb'\s*\{\s*"queue_running"\s*:\s*\[\s*(?:\]|\[[^,"\[\]{}]*,\s*' + _STRING + rb")")
_PENDING = re.compile(rb'\]\s*,\s*"queue_pending"\s*:\s*\[')
_CLASS = re.compile(rb'"class_type"\s*:\s*' + _STRING)
_NEWEST = re.compile(rb"\s*\{\s*(?:\}|" + _STRING + rb'\s*:\s*\{\s*"prompt"\s*:)')
_JOB = re.compile(rb"(?<=[{,\s])" + _STRING + rb'\s*:\s*\{\s*"prompt"\s*:\s*\[[^,"\[\]{}]*,\s*(?=\1)')
"""What begins a job in the history, its id coming twice; a job's graph may hold something that looks so.

A quote within a text, which has a backslash before it, begins none: a text of quotes alone would be searched through
from each of them to its end.
"""
_STATUS = re.compile(rb'"status"\s*:\s*\{\s*"status_str"\s*:')
_ERROR = re.compile(rb'\[\s*"execution_error"\s*,')
_MESSAGE = re.compile(rb'"exception_message"\s*:\s*' + _STRING)
_EXCEPTION = re.compile(rb'"exception_type"\s*:\s*' + _STRING)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Said:
    """What ``GET /prompt`` brought."""

    reply: Reply
    text: str = ""
    """Why it is no good answer."""
    queue: int | None = None
    """Jobs running and waiting."""


@dataclass(frozen=True)
class Running:
    """The running job."""

    prompt_id: str
    classes: frozenset[str]
    """The classes of its nodes."""


@dataclass(frozen=True)
class Queue:
    """What ``GET /queue`` brought."""

    job: Running | None
    """None: none runs."""


class Api:
    """One ComfyUI's API, to be asked by one thread. Every deadline is in seconds, and for the whole answer."""

    def __init__(self, url: str) -> None:
        """Keep the API's root; asks nobody yet."""
        self._client = Client(url)
        self._remote: dict[str, bool] = {}

    def prompt(self, deadline: float) -> Said:
        """Ask how many jobs there are: the cheapest question, which ComfyUI answers without touching the GPU."""
        try:
            with self._client.ask("/prompt", deadline) as answer:
                return _said(answer)
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not end the thread that watches
            return Said(*meaning(error, deadline))

    def running(self, deadline: float) -> Queue | None:
        """Return what runs; None: can't be told. Of jobs that wait, whose graphs come after it, nothing is read."""
        return self._told("/queue", deadline, _running)

    def last_finished(self, deadline: float) -> Finished | None:
        """Return the job that ended last, one without an id where none has yet; None: it can't be told."""
        return self._told("/history?max_items=1", deadline, _finished)

    def finished_before(self, last: Finished, most: int, deadline: float) -> tuple[Finished, ...] | None:
        """Return the jobs that ended before the last one, so many at most, the oldest first; None: can't be told.

        Has ComfyUI send each job twice with its graph: not to be asked often.
        """
        over = time.monotonic() + deadline
        ids = self._told(f"/history?max_items={most + 1}", deadline, _ids)
        if ids is None or last.prompt_id not in ids:
            return None  # meanwhile others have ended
        before = ids[: ids.index(last.prompt_id)][-most:] if most else ()
        jobs = [self._told(f"/history/{_quoted(each)}", over - time.monotonic(), _finished) for each in before]
        return tuple(job for job in jobs if job and job.prompt_id)

    def device(self, deadline: float) -> str:
        """Return the type of the device that ComfyUI computes on, ``cuda`` or ``cpu``; empty: can't be told.

        Has ComfyUI ask torch for its memory, on the thread that answers all others: not to be asked often.
        """
        return self._told("/system_stats", deadline, _device) or ""

    def remote_nodes(self, classes: Iterable[str], deadline: float) -> frozenset[str] | None:
        """Return which of these classes of nodes call an API elsewhere; None: can't be told of all.

        ComfyUI may have to list its models for an answer, so that each class is asked about once in a life.
        """
        over, wanted = time.monotonic() + deadline, frozenset(classes)
        for name in sorted(wanted - self._remote.keys()):
            found = self._told(f"/object_info/{_quoted(name)}", over - time.monotonic(), _is_remote)
            if found is None:
                return None
            self._remote[name] = found
        return frozenset(name for name in wanted if self._remote[name])

    def interrupt(self, prompt_id: str, deadline: float) -> bool:
        """Ask ComfyUI (0.3.57 or later) to give one job up; return whether it has heard, not whether it obeys."""
        return bool(self._told("/interrupt", deadline, _is_heard, {"prompt_id": prompt_id}))

    def forget(self) -> None:
        """Drop what holds for one life only: the next one may have other nodes."""
        self._remote.clear()
        self._client.close()

    def _told(
        self, path: str, deadline: float, understand: Callable[[Answer], _T | None], body: object = None
    ) -> _T | None:
        try:
            with self._client.ask(path, deadline, body) as answer:
                return understand(answer)
        except Exception:  # noqa: BLE001  # it can't be told; ``prompt`` says how the API is
            return None


def _said(answer: Answer) -> Said:
    if answer.status >= 500:  # noqa: PLR2004  # the server's own errors
        return Said(Reply.ERROR, f"HTTP {answer.status}")
    if answer.status != 200:  # noqa: PLR2004  # the one status that the route has
        to = f", to {answer.location[:_TEXT]}" if answer.location else ""
        return Said(Reply.STRANGE, f"HTTP {answer.status}{to}")
    try:
        queue = _json(answer, SHORT)["exec_info"]["queue_remaining"]
    except (ValueError, TypeError, LookupError, RecursionError):
        queue = None
    if type(queue) is int and queue >= 0:
        return Said(Reply.GOOD, queue=queue)
    return Said(Reply.STRANGE, "its answer is none of ComfyUI's")


def _running(answer: Answer) -> Queue | None:
    found, classes = None, set[bytes]()
    for before, piece in _pieces(answer):
        text = before + piece
        found = found or _RUNNING.match(text)
        if not found or not found[1]:
            return Queue(None) if found else None
        end = _PENDING.search(text)
        classes.update(_CLASS.findall(text, 0, end.start() if end else len(text)))
        if end or len(classes) > _MOST_CLASSES:
            break
    return Queue(Running(_text(found[1]), frozenset(map(_text, classes)))) if found else None


def _finished(answer: Answer) -> Finished | None:
    """Search for the last thing in the answer that looks like a job's status: it comes after graph and outputs."""
    newest, status = None, b""
    for before, piece in _pieces(answer):
        text = before + piece
        newest = newest or _NEWEST.match(text)
        if not newest or not newest[1]:
            return Finished("") if newest else None
        begins = [found.start() for found in _STATUS.finditer(text)]
        if begins:
            status = text[begins[-1] :]
        elif status and len(status) < _STATUS_BYTES:
            status += piece
    return _judged(_text(newest[1]), status) if newest else None


def _ids(answer: Answer) -> tuple[str, ...] | None:
    """Search for the ids of all jobs in the answer, in its order; those that only look like one among them."""
    found: dict[bytes, None] = {}
    for before, piece in _pieces(answer):
        found.update(dict.fromkeys(_JOB.findall(before + piece)))
    return tuple(map(_text, found)) or None


def _judged(prompt_id: str, status: bytes) -> Finished:
    error = _ERROR.search(status)
    if not error:
        return Finished(prompt_id)  # also where somebody interrupted it
    found = _MESSAGE.search(status, error.end()), _EXCEPTION.search(status, error.end())
    message, exception = (_text(each[1]) if each else "" for each in found)
    return Finished(prompt_id, failure(exception, message), message.strip().partition("\n")[0][:_TEXT] or exception)


def _device(answer: Answer) -> str | None:
    found = _json(answer, SHORT)["devices"][0]["type"]
    return found if isinstance(found, str) else None


def _is_heard(answer: Answer) -> bool:
    return answer.status == 200  # noqa: PLR2004


def _is_remote(answer: Answer) -> bool | None:
    if answer.status != 200:  # noqa: PLR2004  # it has been answered, and does not say so
        return False
    return any(isinstance(node, dict) and node.get("api_node") is True for node in _json(answer, MEDIUM).values())


def _json(answer: Answer, most: int) -> Any:
    body = answer.read(most + 1)
    if len(body) > most:
        raise ValueError(f"longer than {most} bytes")
    return json.loads(body)


def _pieces(answer: Answer) -> Iterator[tuple[bytes, bytes]]:
    """Give the body piece by piece, each with the end of the one before it; nothing of another answer than 200."""
    before, left = b"", LONG if answer.status == 200 else 0  # noqa: PLR2004
    while left > 0 and (piece := answer.read(min(_PIECE, left))):
        yield before, piece
        before, left = piece[-_OVERLAP:], left - len(piece)


def _text(string: bytes) -> str:
    """Return a JSON string that can be written down: half a character, which JSON can say, becomes a question mark."""
    return str(json.loads(string)).encode(errors="replace").decode()


def _quoted(name: str) -> str:
    return quote(name, safe="", errors="replace")
