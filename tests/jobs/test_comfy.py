"""What is asked of ComfyUI for its jobs' sake: no answer, and an unfit one, are none."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from comfy_supervisor.jobs import comfy
from comfy_supervisor.jobs.comfy import Comfy, Ending, Queue, Reply, Taken, submission
from comfy_supervisor.jobs.job import State

ANSWERS: dict[str, tuple[int, str]] = {}
RECEIVED: list[bytes] = []
JOB: dict[str, object] = {"prompt": {}, "extra_data": {}, "outputs": []}


class Answering(BaseHTTPRequestHandler):
    """Answers as a test says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, text = ANSWERS.get(self.path, (404, "404: Not Found"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self) -> None:
        RECEIVED.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def asked() -> Iterator[Comfy]:
    ANSWERS.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        one = Comfy(f"http://127.0.0.1:{server.server_port}")
        yield one
        one.close()
        server.shutdown()


def test_a_job_that_the_history_does_not_know_has_not_ended(asked: Comfy) -> None:
    """Some releases answer 404 for an id that no path can hold."""
    assert asked.ended("a", 1.0) == Ending(None)
    ANSWERS["/history/b"] = (200, "{}")
    assert asked.ended("b", 1.0) == Ending(None)


@pytest.mark.parametrize("answer", [(500, "{}"), (200, "no JSON"), (200, "[]"), (200, "null"), (200, '{"a": 1}')])
def test_what_can_not_be_told_is_not_taken_for_an_end(asked: Comfy, answer: tuple[int, str]) -> None:
    ANSWERS["/history/a"] = answer
    assert asked.ended("a", 1.0) is None


@pytest.mark.parametrize(
    "answer", [(500, "{}"), (404, ""), (200, "no JSON"), (200, "[]"), (200, '{"queue_running": 1}')]
)
def test_a_queue_that_can_not_be_told_is_not_taken_for_empty(asked: Comfy, answer: tuple[int, str]) -> None:
    ANSWERS["/queue"] = answer
    assert asked.queue() is None


def test_a_queue_too_long_to_be_read_is_said_to_be(asked: Comfy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfy, "LONGEST", 100)
    ANSWERS["/queue"] = (200, '{"queue_running": [], "queue_pending": [' + " " * 100 + "]}")
    assert asked.queue() is None
    assert asked.unread == "is longer than 0.0001 MB"
    ANSWERS["/queue"] = (200, '{"queue_running": [], "queue_pending": []}')
    assert asked.queue() is not None
    assert not asked.unread


@pytest.mark.parametrize(
    "body", ["<html>", "[]", "7", '{"queue_running": []}', '{"queue_running": 1, "queue_pending": []}', "[" * 100_000]
    + [f'{{"queue_running": [], "queue_pending": [{job}]}}' for job in ("{}", "7", '"abc"', "[]", "[1]", "[1, 2, {}]")]
)  # fmt: skip
def test_a_queue_of_another_form_is_said_to_be_and_not_taken_for_empty(asked: Comfy, body: str) -> None:
    ANSWERS["/queue"] = (200, body)
    assert (asked.queue(), asked.unread) == (None, "has a form that is not known here")
    ANSWERS["/queue"] = (200, '{"queue_running": [], "queue_pending": []}')
    assert (asked.queue(), asked.unread, asked.strange) == (Queue({}, frozenset()), "", 0)


def test_a_queue_that_comfyui_can_not_tell_is_said_to_be(asked: Comfy) -> None:
    """As long as a job is in it that can't be written as JSON, it answers so."""
    ANSWERS["/queue"] = (500, "")
    assert (asked.queue(), asked.unread) == (None, "is answered with HTTP 500")


def test_who_is_silent_is_not_said_to_be_unreadable() -> None:
    """ComfyUI may be on its way out, or busy: other eyes watch for that."""
    silent = Comfy("http://127.0.0.1:9", 0.2)
    assert (silent.queue(), silent.unread) == (None, "")


@pytest.mark.parametrize("odd", ["[2, 7, {}, {}, []]", "{}", "null", "[2]", '"odd"'])
def test_a_job_of_another_form_hides_no_other(asked: Comfy, odd: str) -> None:
    """Some node may have put it there; one that has an id is seen to be there, and one without is counted."""
    jobs = '[1, "a", {}, {}, []], [3, "few"], [4, "", {}, {}, []]'
    ANSWERS["/queue"] = (200, f'{{"queue_running": [{odd}], "queue_pending": [{jobs}, {odd}]}}')
    found = asked.queue()
    assert found
    assert (list(found.items), found.running, found.strange, asked.strange) == (["a", "few", ""], frozenset(), 3, 3)
    assert found.nameless == 2


@pytest.mark.parametrize(("status", "taken"), [(200, Taken.YES), (400, Taken.NO), (500, Taken.UNKNOWN)])
def test_what_is_said_to_a_submission(asked: Comfy, status: int, taken: Taken) -> None:
    ANSWERS["/prompt"] = (status, '{"prompt_id": "a", "error": {"message": "no", "details": "such"}}')
    assert asked.submit("a", 1.0, JOB).taken is taken


def test_why_a_submission_was_not_heard_is_said_in_words() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert Comfy(url, 0.2).submit("a", 1.0, JOB) == Reply(Taken.UNKNOWN, "no whole answer within 0.2 s")
    assert Comfy(url).submit("a", 1.0, JOB) == Reply(Taken.UNKNOWN, "connection refused")


@pytest.mark.parametrize("answer", ["<html>", "[]", "{}"])
def test_nobody_knows_what_became_of_a_job_that_somebody_else_took(answer: str, asked: Comfy) -> None:
    ANSWERS["/prompt"] = (200, answer)
    assert asked.submit("a", 1.0, JOB) == Reply(Taken.UNKNOWN, "an answer without the job's id: is it ComfyUI?")


def test_a_number_that_json_does_not_know_is_submitted_as_comfyui_took_it(asked: Comfy) -> None:
    """Python's own JSON writes and reads NaN and Infinity, and so do ComfyUI and its clients."""
    ANSWERS["/prompt"] = (200, '{"prompt_id": "a"}')
    graph = {"1": {"inputs": {"x": math.nan, "y": -math.inf}}}
    assert asked.submit("a", 1.0, {"prompt": graph, "extra_data": {}, "outputs": []}).taken is Taken.YES
    inputs = json.loads(RECEIVED[-1])["prompt"]["1"]["inputs"]
    assert math.isnan(inputs["x"])
    assert inputs["y"] == -math.inf


@contextmanager
def _cutting_off() -> Iterator[tuple[Comfy, list[bytes]]]:
    """Give one who reads a question and resets the connection, as a process does that dies then; and what it read."""
    read: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def cuts_off() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    read.append(connection.recv(65536).partition(b"\r\n")[0])
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.close()

        threading.Thread(target=cuts_off, daemon=True).start()
        with closing(Comfy(f"http://127.0.0.1:{listening.getsockname()[1]}")) as asked:
            yield asked, read
        listening.shutdown(socket.SHUT_RDWR)


def test_a_submission_that_is_cut_off_is_not_sent_again() -> None:
    """It may have been taken; other questions may be asked twice."""
    with _cutting_off() as (asked, read):
        assert asked.submit("a", 1.0, JOB) == Reply(Taken.UNKNOWN, "the connection was closed without an answer")
        assert read == [b"POST /prompt HTTP/1.1"]
        assert asked.ended("a", 1.0) is None
        assert read[1:] == [b"GET /history/a HTTP/1.1"] * 2


def test_a_job_is_submitted_as_it_was_the_first_time(asked: Comfy) -> None:
    """Under its own id, at its own place; a client is named where there was one."""
    ANSWERS["/prompt"] = (200, '{"prompt_id": "b"}')
    body = {"prompt": {"1": {}}, "extra_data": {"client_id": "me", "x": 1}, "outputs": ["1"]}
    assert asked.submit("a", -2e12, body) == Reply(Taken.YES, "", "b")
    assert json.loads(RECEIVED[-1]) == {
        "number": -2e12,
        "prompt": {"1": {}},
        "prompt_id": "a",
        "client_id": "me",
        "extra_data": {"client_id": "me", "x": 1},
        "partial_execution_targets": ["1"],
    }
    assert "client_id" not in submission("a", JOB)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ('{"error": {"message": "no", "details": " such\\nthing"}}', "no: such"),
        ('{"error": {"message": "no", "details": ""}}', "no"),
        ('{"error": "no"}', "HTTP 400"),
        ('{"error": {"message": "no"}}', "HTTP 400"),
        ("<html>", "HTTP 400"),
    ],
)
def test_a_refusal_is_told_in_comfyuis_own_words(asked: Comfy, answer: str, why: str) -> None:
    ANSWERS["/prompt"] = (400, answer)
    assert asked.submit("a", 1.0, JOB) == Reply(Taken.NO, why)


def test_an_answer_that_is_no_answer_to_a_submission_is_told(asked: Comfy) -> None:
    ANSWERS["/prompt"] = (503, "")
    assert asked.submit("a", 1.0, JOB) == Reply(Taken.UNKNOWN, "HTTP 503")


@pytest.mark.parametrize("heard", [True, False])
def test_whether_a_job_could_be_deleted_or_interrupted_is_told(asked: Comfy, heard: bool) -> None:
    ANSWERS.update(dict.fromkeys(("/queue", "/interrupt"), (200 if heard else 500, "")))
    assert asked.delete("a") is heard
    assert json.loads(RECEIVED[-1]) == {"delete": ["a"]}
    assert asked.interrupt("a") is heard
    assert json.loads(RECEIVED[-1]) == {"prompt_id": "a"}


def test_where_nobody_answers_nothing_was_heard_or_told(asked: Comfy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    nobody = Comfy(f"http://127.0.0.1:{port}")
    assert (nobody.delete("a"), nobody.interrupt("a")) == (False, False)
    assert (nobody.queue(), nobody.unread, nobody.ended("a", 1.0)) == (None, "", None)


ENDINGS = {
    '{"status": {"status_str": "success", "messages": []}}': Ending(State.DONE),
    "{}": Ending(State.DONE),
    '{"status": null}': Ending(State.DONE),
    '{"status": {"status_str": "error", "messages": null}}': Ending(State.FAILED),
    '{"status": {"status_str": "error", "messages": [["execution_error", {"exception_message": "no"}]]}}': Ending(
        State.FAILED, "no"
    ),
    '{"prompt": [1], "status": {"messages": [["execution_interrupted", {}]]}}': Ending(State.DELETED, "interrupted"),
    '{"prompt": [2], "status": {"messages": [["execution_interrupted", {}]]}}': Ending(None),
    '{"prompt": ["x"], "status": {"messages": [["execution_interrupted", {}]]}}': None,
    '{"prompt": [], "status": {"messages": [["execution_interrupted", {}]]}}': None,
    f'{{"prompt": [1{"0" * 400}], "status": {{"messages": [["execution_interrupted", {{}}]]}}}}': None,
    '{"status": {"messages": [1]}}': None,
    "[]": None,
}


@pytest.mark.parametrize("entry", ENDINGS)
def test_how_a_job_ended_is_told_by_its_history(asked: Comfy, entry: str) -> None:
    """Where it gave up at another place, it was submitted again since; what makes no sense tells nothing."""
    ANSWERS["/history/a%2F%3F%20b"] = (200, f'{{"a/? b": {entry}}}')
    assert asked.ended("a/? b", 1.0) == ENDINGS[entry]


def test_of_an_error_200_characters_are_kept_and_no_half_ones(asked: Comfy) -> None:
    entry = {
        "status": {"status_str": "error", "messages": [["execution_error", {"exception_message": "\udcff" * 300}]]}
    }
    ANSWERS["/history/a"] = (200, json.dumps({"a": entry}))
    assert asked.ended("a", 1.0) == Ending(State.FAILED, "?" * 200)


def test_of_an_answer_64_mib_are_read() -> None:
    assert comfy._queue(bytes(64 * 1024 * 1024)) == "has a form that is not known here"
    assert comfy._queue(bytes(64 * 1024 * 1024 + 1)) == "is longer than 67.1089 MB"


def test_before_anybody_is_asked_nothing_is_strange() -> None:
    asked = Comfy("http://127.0.0.1:9")
    assert (asked.unread, asked.strange, asked.took) == ("", 0, 0.0)


def test_an_answer_is_read_up_to_its_longest(asked: Comfy, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, history = '{"queue_running": [[1, "a"]], "queue_pending": [[2, "b"]]}', '{"a": {}}'
    for length, told in ((0, True), (-1, False)):
        ANSWERS.update({"/queue": (200, queue), "/history/a": (200, history)})
        monkeypatch.setattr(comfy, "LONGEST", len(queue) + length)
        found = asked.queue()
        assert (found is not None, not asked.unread) == (told, told)
        if found:
            assert (list(found.items), found.running) == (["a", "b"], frozenset("a"))
        monkeypatch.setattr(comfy, "LONGEST", len(history) + length)
        assert asked.ended("a", 1.0) == (Ending(State.DONE) if told else None)
