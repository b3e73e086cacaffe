"""What is asked of a ComfyUI for its jobs' sake: what it has, and to take one. Bounded, never an exception."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol
from urllib.parse import quote

from ..bounded import Answer, Client, in_words
from ..extension.comfy_supervisor_bridge import cuda
from ..extension.comfy_supervisor_bridge.rows import id_of, is_known
from .job import State

LONGEST = 64 * 1024 * 1024
"""Bytes of an answer that are read: a queue holds each job's graph."""
DEADLINE = 30.0
"""Seconds for any answer: a busy event loop may take long, and nobody waits for us."""
_OK = 200
_REFUSED = 400
_NOT_FOUND = 404
_ANOTHER_FORM = "has a form that is not known here"


class Taken(Enum):
    """What became of a job that was submitted."""

    YES = "yes"
    NO = "no"
    """It was understood and refused: it will be again."""
    UNKNOWN = "unknown"
    """Nobody can tell; it may be in the queue. Look before it is submitted again."""


@dataclass(frozen=True)
class Reply:
    """The answer to a submission."""

    taken: Taken
    text: str = ""
    """Why it was not."""
    prompt_id: str = ""
    """Under which id it was: releases before 0.3.45 choose one themselves."""


@dataclass(frozen=True)
class Ending:
    """What a life's history says of a job."""

    state: State | None
    """None: it has not ended in this life."""
    note: str = ""
    """Its error."""

    @property
    def of_ruin(self) -> bool:
        """Whether it failed because the GPU was ruined: by it, or before, so that it has not been tried."""
        return self.state is State.FAILED and cuda.kind("", self.note) == "sticky"


@dataclass(frozen=True)
class Queue:
    """ComfyUI's unfinished jobs."""

    items: dict[str, list[Any]]
    """Those that have an id, by it, each ``[number, prompt_id, graph, …]``."""
    running: frozenset[str]
    strange: int = 0
    """How many have a form that is not known, whether they have an id or not."""

    @property
    def nameless(self) -> int:
        """How many of those have no id."""
        return self.strange - sum(not is_known(item) for item in self.items.values())


class Server(Protocol):
    """What is asked of ComfyUI."""

    unread: str
    """Why the queue could not be read when it was asked for last, which will not end by itself; empty: it could be."""
    strange: int
    """How many jobs in it had a form that is not known."""
    took: float
    """Seconds that it took to be read."""

    def queue(self) -> Queue | None:
        """Return the unfinished jobs."""

    def ended(self, prompt_id: str, number: float) -> Ending | None:
        """Return how a job ended, or that it did not."""

    def submit(self, prompt_id: str, number: float, body: dict[str, object]) -> Reply:
        """Submit a job."""


class Comfy:
    """One ComfyUI, to be asked by one thread."""

    def __init__(self, url: str, deadline: float = DEADLINE) -> None:
        """Keep the API's root, and how many seconds any answer is waited for; asks nobody yet."""
        self._client = Client(url)
        self._deadline = deadline
        self.unread = ""
        """Why the queue could not be read when it was asked for last, which will not end by itself; empty: it could."""
        self.strange = 0
        """How many jobs in it had a form that is not known."""
        self.took = 0.0
        """Seconds that it took to be read."""

    def queue(self) -> Queue | None:
        """Return the unfinished jobs; None: can't be told."""
        began = time.monotonic()
        status, body = self._answer("/queue")
        self.took = time.monotonic() - began
        if not status:
            return None
        found = _queue(body) if status == _OK else f"is answered with HTTP {status}"
        if isinstance(found, str):
            self.unread = found
            return None
        self.unread, self.strange = "", found.strange
        return found

    def ended(self, prompt_id: str, number: float) -> Ending | None:
        """Return how a job ended in this life, or that it did not; None: it can't be told.

        Where it gave up at another ``number`` than this, it was submitted again since.
        """
        found = self._told(f"/history/{quote(prompt_id, safe='', errors='replace')}", unknown={})
        if not isinstance(found, dict):
            return None
        try:
            return _ending(found[prompt_id], number) if prompt_id in found else Ending(None)
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
            return None

    def submit(self, prompt_id: str, number: float, body: dict[str, Any]) -> Reply:
        """Submit a job, once, under its own id and at its place."""
        prompt = {"number": number, **submission(prompt_id, body)}
        try:
            with self._client.ask("/prompt", self._deadline, prompt, once=True) as answer:
                return _reply(answer)
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not end the thread
            return Reply(Taken.UNKNOWN, in_words(error, self._deadline))

    def delete(self, prompt_id: str) -> bool:
        """Have a waiting job deleted; return whether that was heard."""
        return self._heard("/queue", {"delete": [prompt_id]})

    def interrupt(self, prompt_id: str) -> bool:
        """Have a running job interrupted (0.3.57 or later); return whether that was heard."""
        return self._heard("/interrupt", {"prompt_id": prompt_id})

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _told(self, path: str, unknown: Any = None) -> Any:
        """Return what is answered, ``unknown`` where that is 404; None: it can't be told."""
        status, body = self._answer(path)
        if status == _NOT_FOUND:
            return unknown
        try:
            return json.loads(body) if status == _OK and len(body) <= LONGEST else None
        except (ValueError, RecursionError):
            return None

    def _answer(self, path: str) -> tuple[int, bytes]:
        """Return an answer's status, 0 where there is none, and one byte more of it than is read at most."""
        try:
            with self._client.ask(path, self._deadline) as answer:
                return answer.status, answer.read(LONGEST + 1)
        except Exception:  # noqa: BLE001  # it can't be told
            return 0, b""

    def _heard(self, path: str, body: object) -> bool:
        try:
            with self._client.ask(path, self._deadline, body) as answer:
                return answer.status == _OK
        except Exception:  # noqa: BLE001  # nobody knows
            return False


def submission(prompt_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return what ``POST /prompt`` takes for a job, from the journal's ``body``."""
    extra_data = body["extra_data"]
    return {
        "prompt": body["prompt"],
        "prompt_id": prompt_id,
        **({"client_id": extra_data["client_id"]} if "client_id" in extra_data else {}),
        "extra_data": extra_data,
        "partial_execution_targets": body["outputs"],
    }


def _queue(body: bytes) -> Queue | str:
    """Return the jobs that ``GET /queue`` answers with, or in words why they can't be read.

    Some node may have put a job of its own form among others; where none has an id, that is another form of answer.
    """
    if len(body) > LONGEST:
        return f"is longer than {LONGEST / 1e6:g} MB"
    try:
        found = json.loads(body)
        running, pending = list(found["queue_running"]), list(found["queue_pending"])
    except (TypeError, LookupError, ValueError, RecursionError):
        return _ANOTHER_FORM
    jobs = [*running, *pending]
    items = {prompt_id: job for job in jobs if (prompt_id := id_of(job)) is not None}
    if jobs and not items:
        return _ANOTHER_FORM
    ids = (id_of(job) for job in running)
    strange = sum(not is_known(job) for job in jobs)
    return Queue(items, frozenset(each for each in ids if each is not None), strange)


def _reply(answer: Answer) -> Reply:
    body = answer.read(LONGEST)
    if answer.status == _REFUSED:
        return Reply(Taken.NO, _why(body))
    if answer.status != _OK:
        return Reply(Taken.UNKNOWN, f"HTTP {answer.status}")
    try:
        return Reply(Taken.YES, prompt_id=str(json.loads(body)["prompt_id"]))
    except (ValueError, LookupError, TypeError):
        return Reply(Taken.UNKNOWN, "an answer without the job's id: is it ComfyUI?")


def _why(body: bytes) -> str:
    """Return ComfyUI's own words for a refusal."""
    try:
        error = json.loads(body)["error"]
        return ": ".join(filter(None, (str(error["message"]), str(error["details"]).strip().partition("\n")[0])))
    except (ValueError, LookupError, TypeError):
        return "HTTP 400"


def _ending(entry: Any, number: float) -> Ending:
    status = entry.get("status") or {}
    messages = dict(status.get("messages") or ())
    if "execution_interrupted" in messages:
        return Ending(State.DELETED, "interrupted") if float(entry["prompt"][0]) == number else Ending(None)
    if status.get("status_str") == "error":
        note = str(messages.get("execution_error", {}).get("exception_message", ""))[:200]
        return Ending(State.FAILED, note.encode(errors="replace").decode())  # JSON can say half a character
    return Ending(State.DONE)
