"""HTTP answers of anything: whatever ComfyUI, or what has taken its port, says, the watch goes on."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from hypothesis import event, example, given
from hypothesis import strategies as st

from comfy_supervisor.health.policy.evidence import Finished, Reply
from comfy_supervisor.health.senses.api import Api, Queue, Said
from comfy_supervisor.jobs import snapshot
from comfy_supervisor.jobs.comfy import Comfy, Ending, Taken
from comfy_supervisor.jobs.comfy import Queue as Jobs
from comfy_supervisor.jobs.job import Process, State
from comfy_supervisor.jobs.journal import Journal

from . import bounded, damaged, dumped, examples, lone, scalars, values, words

ID = "5c1f8d2e-0000-4000-8000-000000000001"
GRAPH = {"1": {"class_type": "KSampler", "inputs": {"seed": 1, "text": 'a "status": {"status_str": \\" b'}}}
ITEM = [3, ID, GRAPH, {"client_id": "me"}, ["1"]]
FAILED = {"node_id": "1", "exception_message": "CUDA error: x\n", "exception_type": "RuntimeError"}
STATUS = {"status_str": "error", "completed": False, "messages": [["execution_error", FAILED]]}
WELL: tuple[Any, ...] = (
    {"exec_info": {"queue_remaining": 2}},
    {"queue_running": [ITEM], "queue_pending": [[4, "other", GRAPH, {}, ["1"]]]},
    {ID: {"prompt": ITEM, "outputs": {}, "status": STATUS}},
    {"system": {"os": "posix"}, "devices": [{"name": "cuda:0", "type": "cuda", "vram_total": 1}]},
    {"KSampler": {"input": {}, "api_node": True}},
    {"prompt_id": ID, "number": 3, "node_errors": {}},
    {"error": {"message": "bad", "details": "x"}, "node_errors": []},
)


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """Give an answer as it should be, in which one thing is something else."""
    answer = json.loads(json.dumps(draw(st.sampled_from(WELL))))
    inner, path = answer, draw(st.lists(st.integers(0, 5), min_size=1, max_size=5))
    for step in path:
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        if not keys:
            break
        key: Any = keys[step % len(keys)]
        if not isinstance(inner[key], dict | list) or step is path[-1]:
            inner[key] = draw(st.one_of(scalars, values))
            break
        inner = inner[key]
    return dumped(answer)


items = st.lists(st.one_of(scalars, st.just(ID), values), max_size=7)
queues = st.builds(lambda *parts: dumped(dict(zip(("queue_running", "queue_pending"), parts, strict=True))),
                   *[st.lists(st.one_of(items, st.just(ITEM)), max_size=3)] * 2)  # fmt: skip
bodies = st.one_of(
    changed(),
    st.sampled_from(WELL).flatmap(lambda answer: damaged(dumped(answer))),
    values.map(dumped),
    queues,
    st.binary(max_size=100),
    st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b'{"queue_running": [' * 5000, b'"\\' * 50_000]),
)
statuses = st.sampled_from([200, 200, 200, 204, 302, 400, 404, 500, 999])


class Text:
    """An answer, read piece by piece, as `bounded.Answer` is."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.location, self._left = status, "http://\x1b[2J" * (status == 302), body

    def read(self, size: int) -> bytes:
        piece, self._left = self._left[:size], self._left[size:]
        return piece


class Client:
    """Answers each question with the next of its answers, over and over."""

    def __init__(self, answers: list[tuple[int, bytes]]) -> None:
        self._answers, self._at = answers, 0

    @contextmanager
    def ask(self, path: str, deadline: float, body: object = None, *, once: bool = False) -> Iterator[Text]:  # noqa: ARG002
        path.encode("ascii")  # as http.client does, which raises this, too
        self._at += 1
        yield Text(*self._answers[self._at % len(self._answers)])

    def close(self) -> None: ...


answers = st.lists(st.tuples(statuses, bodies), min_size=1, max_size=3)
odd_names = st.one_of(st.just(ID), words, lone)


@examples(400)
@given(answers, odd_names)
@example([(200, dumped(WELL[2]))], "\ud800")
@example([(200, dumped({ID: {"prompt": [1, ID, {"1": {"inputs": {"text": '"' * 60_000}}}]}}))], ID)
@example([(200, b'{"\\ud800": {"prompt": [1, "\\ud800", {}], "status": {"status_str": "success"}}}')], ID)
def test_the_watch_is_told_something_or_that_it_can_not_be_told(given_: list[tuple[int, bytes]], name: str) -> None:
    api = Api("http://127.0.0.1:1")
    api._client = Client(given_)  # type: ignore[assignment]
    with bounded():
        said, queue, last = api.prompt(1.0), api.running(1.0), api.last_finished(1.0)
        before = api.finished_before(last or Finished(name), 3, 1.0)
        device, remote = api.device(1.0), api.remote_nodes([name], 1.0)
        heard = api.interrupt(name, 1.0)
    event(f"{said.reply.value}, queue {'' if queue else 'not '}told, history {'' if last else 'not '}told")
    assert isinstance(said, Said)
    assert (said.reply is Reply.GOOD) == isinstance(said.queue, int)
    assert queue is None or isinstance(queue, Queue)
    assert all(isinstance(each, Finished) for each in (*(before or ()), *([last] if last else [])))
    assert isinstance(device, str)
    assert remote is None or remote <= {name}
    assert isinstance(heard, bool)
    for text in (said.text, *(each.text for each in before or ()), queue.job.prompt_id if queue and queue.job else ""):
        text.encode()  # it is printed and written down


@examples(400)
@given(answers, odd_names, st.sampled_from([3.0, 0.0]))
@example([(200, dumped({ID: {"status": {"messages": [["execution_interrupted", {}]]}, "prompt": [10**400]}}))], ID, 3.0)
@example([(200, dumped({"queue_running": [], "queue_pending": [[1, ID, {}, [], []]]}))], ID, 3.0)
@example([(200, dumped({"queue_running": [], "queue_pending": [[1, "\ud800", {}, {}, []]]}))], ID, 3.0)
@example([(200, b'{"queue_running": [], "queue_pending": [[NaN, "a", {}, {}, []]]}')], ID, 3.0)
@example([(200, dumped({"queue_running": [], "queue_pending": [["1e", "a", {}, {}, []]]}))], ID, 3.0)
@example([(200, dumped({"queue_running": [[1, 7, {}, {}, []]], "queue_pending": []}))], ID, 3.0)
def test_the_jobs_of_any_queue_are_written_down_or_passed_over(
    given_: list[tuple[int, bytes]], name: str, number: float
) -> None:
    comfy = Comfy("http://127.0.0.1:1")
    comfy._client = Client(given_)  # type: ignore[assignment]
    with bounded():
        ended = comfy.ended(name, number)
        reply = comfy.submit(name, number, {"prompt": {}, "extra_data": {}, "outputs": []})
        found = comfy.queue()
    assert ended is None or isinstance(ended, Ending)
    assert isinstance(reply.taken, Taken)
    assert found is None or isinstance(found, Jobs)
    with tempfile.TemporaryDirectory() as folder, closing(Journal(folder)) as journal, bounded():
        life = journal.begin_life(Process("boot", 1, 1.0), time.time())
        journal.accept(ITEM, life, State.QUEUED)
        for _ in range(2):
            snapshot.follow(journal, comfy, life, lambda: True)
        kept = journal.jobs()
    event(f"{min(len(kept), 3)} jobs kept")
    assert all(isinstance(job.prompt_id, str) and isinstance(job.number, float) for job in kept)


@contextmanager
def server(content: bytes) -> Iterator[int]:
    """Give the port of a server that sends these bytes to whoever connects, whatever is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                with closing(connection):
                    connection.settimeout(1.0)
                    try:
                        connection.recv(65536)
                        connection.sendall(content)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            thread.join()


RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(dumped(WELL[0]))
raw = st.one_of(
    damaged(RESPONSE + dumped(WELL[0])),
    st.binary(max_size=80),
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08garbage",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        ]
    ),
)


@examples(60)
@given(raw)
def test_bytes_of_anything_on_the_port(content: bytes) -> None:
    with server(content) as port, bounded():
        api, comfy = Api(f"http://127.0.0.1:{port}"), Comfy(f"http://127.0.0.1:{port}")
        said = api.prompt(1.0)
        found = api.running(1.0), comfy.queue(), comfy.ended(ID, 1.0)
        api.forget()
        comfy.close()
    assert isinstance(said.reply, Reply)
    assert len(found) == 3
