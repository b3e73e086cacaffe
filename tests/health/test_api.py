"""ComfyUI's API from outside: what it says, and that nothing which answers in its place can do harm."""

from __future__ import annotations

import gc
import json
import os
import resource
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfy_supervisor.health.policy.evidence import Failure, Finished, Patience, Reply
from comfy_supervisor.health.senses.api import Api, Queue, Running, Said
from comfy_supervisor.health.senses.failures import failure
from comfy_supervisor.health.senses.patience import PATIENT_NODES, patience
from tests.certificate import make_certificate
from tests.comfyui_server import Kind, Server, fail_job, sleep_job, standin
from tests.contract.conftest import kinds
from tests.support import free_port, wait_until

LONG = 30.0
"""Seconds that no answer takes, on however busy a machine."""
MIB = 1024 * 1024
POISONED = "CUDA error: an illegal memory access was encountered"


class Peer:
    """A server of a few lines: what it does with a connection is up to each test."""

    def __init__(self, handle: Callable[[socket.socket], None]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.accepted = self.sent = 0
        self._handle = handle
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._handle(connection)
            except OSError:
                return

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


Peers = Callable[[Callable[[socket.socket], None]], Peer]


@pytest.fixture
def peers() -> Iterator[Peers]:
    made: list[Peer] = []

    def make(handle: Callable[[socket.socket], None]) -> Peer:
        made.append(Peer(handle))
        return made[-1]

    yield make
    for each in made:
        each.close()


def answer(body: object, status: str = "200 OK") -> bytes:
    text = json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text


COUNT = answer({"exec_info": {"queue_remaining": 12}})


def always(reply: bytes) -> Callable[[socket.socket], None]:
    """Return what answers every request of a connection alike."""

    def handle(connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(reply)

    return handle


def dumb(_connection: socket.socket) -> None:
    time.sleep(LONG)


def trickle(start: bytes, piece: bytes, pause: float) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(start)
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return handle


@pytest.fixture(scope="module", params=kinds(), ids=str)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    kind: Kind = request.param
    server = Server(kind, tmp_path_factory.mktemp("comfyui"))
    try:
        yield server.until_ready()
    finally:
        server.stop()


@pytest.fixture
def comfyui(running: Server) -> Server:
    """The stand-in, and the real one that the environment names: without jobs and history."""
    if not running.kind.real:
        running.order("recover")
    running.post("/queue", {"clear": True})
    running.post("/interrupt", {})
    wait_until(lambda: running.remaining() == 0, what="jobs of the test before")
    running.post("/history", {"clear": True})
    return running


def failing(server: Server, message: str = POISONED) -> dict[str, Any]:
    """Return a job that fails with a CUDA error."""
    if server.kind.real:
        return {"1": {"class_type": "HealthFail", "inputs": {"message": message}}}
    return fail_job("cuda_poisoned" if message == POISONED else "cuda_oom")


def test_an_idle_instance_says_that_it_has_nothing_to_do(comfyui: Server) -> None:
    api = Api(comfyui.url)
    assert api.prompt(LONG) == Said(Reply.GOOD, queue=0)
    assert api.running(LONG) == Queue(None)
    assert api.last_finished(LONG) == Finished("")
    assert api.device(LONG) == "cpu"


def test_the_running_job_is_told_and_those_that_wait_are_not(comfyui: Server) -> None:
    api = Api(comfyui.url)
    prompt_id = comfyui.submit(sleep_job(LONG))
    comfyui.until_running(prompt_id)
    comfyui.submit(fail_job())
    assert api.running(LONG) == Queue(Running(prompt_id, frozenset({"StandinSleep"})))
    assert api.prompt(LONG).queue == 2


def test_the_job_that_ended_last_is_told(comfyui: Server) -> None:
    api = Api(comfyui.url)
    for _ in range(2):
        prompt_id = comfyui.submit(sleep_job(0))
        comfyui.finished(prompt_id)
        assert api.last_finished(LONG) == Finished(prompt_id)


def test_a_job_that_somebody_interrupted_has_not_failed(comfyui: Server) -> None:
    api = Api(comfyui.url)
    prompt_id = comfyui.submit(sleep_job(600))
    comfyui.until_running(prompt_id)
    assert api.interrupt(prompt_id, LONG)
    comfyui.finished(prompt_id)
    assert api.last_finished(LONG) == Finished(prompt_id)


def test_jobs_that_ended_before_the_last_one_are_told(comfyui: Server) -> None:
    """The oldest first, and no more than asked for."""
    api = Api(comfyui.url)
    jobs = (sleep_job(0), fail_job(), failing(comfyui), failing(comfyui))
    prompt_ids = [comfyui.submit(job) for job in jobs]
    for prompt_id in prompt_ids:
        comfyui.finished(prompt_id)
    last = api.last_finished(LONG)
    assert last
    assert last.prompt_id == prompt_ids[-1]
    found = api.finished_before(last, 9, LONG)
    assert found
    assert [job.prompt_id for job in found] == prompt_ids[:-1]
    assert [job.failure for job in found] == [Failure.NONE, Failure.OTHER, Failure.STICKY]
    assert api.finished_before(last, 2, LONG) == found[1:]
    assert api.finished_before(Finished("another"), 2, LONG) is None


def test_a_job_that_failed_of_itself_says_nothing_of_cuda(comfyui: Server) -> None:
    prompt_id = comfyui.submit(fail_job())
    comfyui.finished(prompt_id)
    found = Api(comfyui.url).last_finished(LONG)
    assert found
    assert (found.prompt_id, found.failure) == (prompt_id, Failure.OTHER)
    assert "told to fail" in found.text


@pytest.mark.parametrize(
    ("message", "expected"), [(POISONED, Failure.STICKY), ("CUDA out of memory. Tried to allocate", Failure.OTHER)]
)
def test_a_job_that_broke_cuda_is_told_from_one_that_ran_out_of_memory(
    comfyui: Server, message: str, expected: Failure
) -> None:
    prompt_id = comfyui.submit(failing(comfyui, message))
    comfyui.finished(prompt_id)
    found = Api(comfyui.url).last_finished(LONG)
    assert found
    assert (found.prompt_id, found.failure) == (prompt_id, expected)
    assert found.text == POISONED or expected is Failure.OTHER
    assert "\n" not in found.text


def test_a_real_node_that_calls_an_api_is_known(comfyui: Server) -> None:
    if not comfyui.kind.real:
        pytest.skip("the stand-in has no such node")
    api = Api(comfyui.url)
    assert api.remote_nodes(["HealthRemote", "HealthFail", "EmptyImage"], LONG) == frozenset({"HealthRemote"})


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(standin("0.33.0"), tmp_path_factory.mktemp("standin"))
    try:
        yield server.until_ready()
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("fault", "options", "reply"),
    [
        ("hold_answers", {}, Reply.TIMEOUT),
        ("slow_loris", {"interval": 0.05}, Reply.TIMEOUT),
        ("huge_answer", {}, Reply.STRANGE),
        ("malformed_json", {}, Reply.STRANGE),
        ("http_500", {}, Reply.ERROR),
    ],
)
def test_what_is_wrong_is_told_in_time_and_over_when_it_is_over(
    faulty: Server, fault: str, options: dict[str, float], reply: Reply
) -> None:
    faulty.order(fault, **options)
    api = Api(faulty.url)
    try:
        began = time.monotonic()
        said = api.prompt(0.5 if reply is Reply.TIMEOUT else LONG)
        assert (said.reply, said.queue) == (reply, None)
        assert said.text
        assert time.monotonic() - began < LONG
        for ask in (api.running, api.last_finished):
            assert ask(0.3 if reply is Reply.TIMEOUT else LONG) is None
        assert api.device(0.3 if reply is Reply.TIMEOUT else LONG) == ""
    finally:
        faulty.order("recover")
    assert api.prompt(LONG).reply is Reply.GOOD


def test_a_redirect_is_not_followed(faulty: Server, peers: Peers) -> None:
    other = peers(always(COUNT))
    faulty.order("redirect", to=f"{other.url}/prompt")
    try:
        said = Api(faulty.url).prompt(LONG)
    finally:
        faulty.order("recover")
    assert (said.reply, other.accepted) == (Reply.STRANGE, 0)
    assert other.url in said.text


def test_a_redirect_without_end_is_not_read(peers: Peers) -> None:
    start = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 1000000000\r\n\r\n"
    peer = peers(trickle(start, b"x" * MIB, 0))
    tracemalloc.start()
    said = Api(peer.url).prompt(LONG)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said.reply is Reply.STRANGE
    assert peak < 8 * MIB


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"H"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
    ],
)
def test_a_trickle_ends_with_the_deadline_wherever_it_is(peers: Peers, start: bytes, piece: bytes) -> None:
    """Each byte comes in good time: the deadline is for the whole."""
    peer = peers(trickle(start, piece, 0.02))
    threads, began = threading.active_count(), time.monotonic()
    said = Api(peer.url).prompt(0.5)
    took = time.monotonic() - began
    assert said.reply is Reply.TIMEOUT
    assert 0.4 < took < 15
    assert threading.active_count() <= threads + 1  # the peer's own


def test_who_accepts_and_never_answers_is_not_waited_for(peers: Peers) -> None:
    said = Api(peers(dumb).url).prompt(0.3)
    assert said == Said(Reply.TIMEOUT, "no whole answer within 0.3 s")


def test_who_does_not_even_accept_is_not_waited_for() -> None:
    """As with a process that is stopped, once its backlog is full."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        socket.socket() as first,
        socket.socket() as next_,
    ):
        for each in (first, next_):
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        api = Api(f"http://127.0.0.1:{server.getsockname()[1]}")
        replies = {api.prompt(0.3).reply for _ in range(3)}
    assert replies == {Reply.TIMEOUT}


def test_nobody_listens() -> None:
    assert Api(f"http://127.0.0.1:{free_port()}").prompt(LONG) == Said(Reply.REFUSED, "connection refused")


def test_all_questions_go_over_one_connection(peers: Peers) -> None:
    peer = peers(always(COUNT))
    api = Api(peer.url)
    assert {api.prompt(LONG) for _ in range(20)} == {Said(Reply.GOOD, queue=12)}
    assert peer.accepted == 1


def test_nothing_is_to_be_unpacked_and_no_cookie_is_kept(peers: Peers) -> None:
    """A small answer that unpacks into a large one is as bad as a large one."""
    asked: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        while request := connection.recv(65536):
            asked.append(request)
            connection.sendall(COUNT.replace(b"OK\r\n", b"OK\r\nSet-Cookie: a=b\r\n"))

    api = Api(peers(handle).url)
    assert [api.prompt(LONG).reply for _ in range(2)] == [Reply.GOOD] * 2
    assert all(b"Accept-Encoding: identity\r\n" in each and b"Cookie" not in each for each in asked)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("resets", [False, True])
def test_a_connection_that_died_is_no_failure(peers: Peers, resets: bool) -> None:
    """As when ComfyUI was restarted in between: it answers once, and ends the connection at the next question."""

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(COUNT)
        connection.recv(65536)
        if resets:
            reset(connection)

    peer = peers(handle)
    api = Api(peer.url)
    assert [api.prompt(LONG).reply for _ in range(5)] == [Reply.GOOD] * 5
    assert peer.accepted == 5


def test_who_closes_every_connection_does_not_answer(peers: Peers) -> None:
    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        reset(connection)

    assert Api(peers(handle).url).prompt(LONG) == Said(Reply.REFUSED, "the connection was closed without an answer")


def test_a_connection_that_went_dumb_is_replaced(peers: Peers) -> None:
    answered = threading.Event()

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(COUNT)
        if answered.is_set():
            return
        answered.set()
        time.sleep(LONG)

    api = Api(peers(handle).url)
    assert [api.prompt(deadline).reply for deadline in (LONG, 0.3, LONG)] == [Reply.GOOD, Reply.TIMEOUT, Reply.GOOD]


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        answer({}),
        answer([]),
        answer({"exec_info": {"queue_remaining": "1"}}),
        answer({"exec_info": {"queue_remaining": -1}}),
        answer({"exec_info": {"queue_remaining": True}}),
        answer({"exec_info": {"queue_remaining": 1, "more": "x" * 70000}}),
        answer({}, "404 Not Found"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + b"[" * 40000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000 + b"\r\n",
    ],
)
def test_somebody_else_who_answers_is_strange(peers: Peers, reply: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(reply)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)

    gc.disable()  # what earlier tests left behind can't be finalized as deep in the stack as the nested answer leads
    try:
        said = Api(peers(handle).url).prompt(LONG)
    finally:
        gc.enable()
    assert said.reply is Reply.STRANGE
    assert 0 < len(said.text) <= 250


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]), rest=st.binary(max_size=60))
def test_no_answer_raises_anything(peers: Peers, start: bytes, rest: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(start + rest)

    api = Api(peers(handle).url)
    assert api.prompt(LONG).reply is not Reply.GOOD
    assert api.running(LONG) is None
    assert api.last_finished(LONG) is None
    assert api.device(LONG) == ""
    assert api.remote_nodes(["A"], LONG) in (None, frozenset())


def test_our_own_lack_of_descriptors_says_nothing_of_the_instance(peers: Peers) -> None:
    api = Api(peers(always(COUNT)).url)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE,
        (int(max(Path("/proc/self/fd").iterdir(), key=lambda each: int(each.name)).name), limits[1]),
    )
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        said = api.prompt(LONG)
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert said.reply is Reply.UNASKED
    assert "Too many open files" in said.text
    assert api.prompt(LONG).reply is Reply.GOOD


def test_no_proxy_is_asked(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert Api(peers(always(COUNT)).url).prompt(LONG).reply is Reply.GOOD


@pytest.mark.filterwarnings("error")
def test_https_is_asked_whatever_its_certificate_says(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    flags = (f"--tls-certfile={certificate}", f"--tls-keyfile={key}")
    server = Server(standin("0.33.0"), tmp_path, *flags)
    try:
        api = Api(f"https://127.0.0.1:{server.port}")
        wait_until(lambda: api.prompt(LONG).reply is Reply.GOOD, what=server.log)
        server.process.send_signal(19)
        assert api.prompt(0.3).reply is Reply.TIMEOUT
        assert api.prompt(0.3).reply is Reply.TIMEOUT  # within the handshake
    finally:
        server.stop()


def test_a_server_without_tls_is_strange_where_tls_is_meant(peers: Peers) -> None:
    url = peers(always(COUNT)).url.replace("http:", "https:")
    assert Api(url).prompt(LONG).reply is Reply.STRANGE


GRAPH = {"1": {"class_type": 'Load "it" ä', "inputs": {"picture": "x" * 300_000}}, "2": {"class_type": "B"}}


@pytest.mark.parametrize("pieces", [65536, 1000])
def test_of_a_long_queue_only_the_running_job_is_read(peers: Peers, pieces: int) -> None:
    """A string that looks like JSON is still a string; and the jobs that wait are not even received."""
    tricky = {"3": {"class_type": "C", "inputs": {"text": '], "queue_pending": [[1, "class_type": "X"'}}}
    item = [7.5, 'the "one"', {**GRAPH, **tricky}, {"extra": 1}, []]
    waiting = [[n, "w", {"1": {"class_type": "W", "inputs": {"t": "y" * 60000}}}, {}, []] for n in range(200)]
    text = answer({"queue_running": [item], "queue_pending": waiting})
    sent: list[int] = []

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        sent.extend(connection.send(text[at : at + pieces]) for at in range(0, len(text), pieces))

    peer = peers(handle)
    tracemalloc.start()
    found = Api(peer.url).running(LONG)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == Queue(Running('the "one"', frozenset({'Load "it" ä', "B", "C"})))
    assert peak < 3 * MIB  # the test's own copies included
    assert sum(sent) < len(text)


def history(status: object, graph: object = GRAPH) -> bytes:
    entry = {"prompt": [1, "id", graph, {}, []], "outputs": {"9": {"images": []}}, "status": status, "meta": {}}
    return answer({"id": entry})


def status_of(message: str, exception: str = "RuntimeError") -> dict[str, Any]:
    error = {
        "prompt_id": "id",
        "node_id": "1",
        "executed": ["exception_message"],
        "exception_message": message,
        "exception_type": exception,
        "current_inputs": {"picture": ["x" * 500_000]},
    }
    return {
        "status_str": "error",
        "completed": False,
        "messages": [["execution_start", {}], ["execution_error", error]],
    }


DONE = {"status_str": "success", "completed": True, "messages": [["execution_success", {"prompt_id": "id"}]]}


def test_an_error_is_found_behind_a_large_graph(peers: Peers) -> None:
    peer = peers(always(history(status_of(f"{POISONED}\nmore"))))
    assert Api(peer.url).last_finished(LONG) == Finished("id", Failure.STICKY, POISONED)


@pytest.mark.parametrize("before_the_cut", range(-1, 30))
def test_an_error_is_found_wherever_the_answer_is_cut(peers: Peers, before_the_cut: int) -> None:
    """The answer is read in pieces of 64 KiB, and where the job's status begins is in two of them."""
    body = history(status_of("no"), {"1": {"t": ""}}).partition(b"\r\n\r\n")[2]
    graph = {"1": {"t": "x" * (64 * 1024 - body.index(b'"status"') - before_the_cut)}}
    peer = peers(always(history(status_of("no"), graph)))
    assert Api(peer.url).last_finished(LONG) == Finished("id", Failure.OTHER, "no")


def test_a_graph_cannot_pretend_that_it_failed(peers: Peers) -> None:
    """Its author could have ComfyUI restarted, again and again."""
    graph = {"1": {"class_type": "A", "status": status_of(POISONED), "inputs": {"t": json.dumps(status_of(POISONED))}}}
    assert Api(peers(always(history(DONE, graph))).url).last_finished(LONG) == Finished("id")
    assert Api(peers(always(history(status_of("no"), graph))).url).last_finished(LONG) == Finished(
        "id", Failure.OTHER, "no"
    )


def test_a_graph_cannot_pretend_that_jobs_failed_before_it(peers: Peers) -> None:
    """What looks like a job within another one's graph is looked up, and is none."""
    fake = {"prompt": [1, "fake", {}, {}, []], "outputs": {}, "status": status_of(POISONED)}
    entry = {"prompt": [1, "id", {"1": {"fake": fake}}, {}, []], "outputs": {}, "status": DONE}
    older = {"prompt": [0.5, "old", {"1": {"fake": fake}}, {}, []], "outputs": {}, "status": DONE}

    def handle(connection: socket.socket) -> None:
        while request := connection.recv(65536):
            known = {b"/history/old": {"old": older}, b"/history?max_items=4": {"old": older, "id": entry}}
            connection.sendall(answer(known.get(request.split()[1], {})))

    assert Api(peers(handle).url).finished_before(Finished("id"), 3, LONG) == (Finished("old"),)


def test_a_job_without_a_status_has_not_failed(peers: Peers) -> None:
    assert Api(peers(always(history(None))).url).last_finished(LONG) == Finished("id")


def test_each_class_is_asked_about_once_in_a_life(peers: Peers) -> None:
    asked: list[str] = []

    def handle(connection: socket.socket) -> None:
        while request := connection.recv(65536):
            name = request.split()[1].decode().removeprefix("/object_info/")
            asked.append(name)
            found = {} if name == "Unknown" else {name: {"input": {}, "api_node": name == "Remote"}}
            connection.sendall(answer(found))

    api = Api(peers(handle).url)
    for _ in range(2):
        assert api.remote_nodes(["Unknown", "Local", "Remote/1"], LONG) == frozenset()
    assert sorted(asked) == ["Local", "Remote%2F1", "Unknown"]
    assert api.remote_nodes(["Remote"], LONG) == frozenset({"Remote"})
    api.forget()
    assert api.remote_nodes(["Remote"], LONG) == frozenset({"Remote"})
    assert asked.count("Remote") == 2


def test_the_deadline_is_for_all_classes_together(peers: Peers) -> None:
    def handle(connection: socket.socket) -> None:
        while connection.recv(65536):
            time.sleep(0.05)
            connection.sendall(answer({}))

    began = time.monotonic()
    assert Api(peers(handle).url).remote_nodes([f"A{n}" for n in range(1000)], 0.5) is None
    assert time.monotonic() - began < 20


def test_what_could_not_be_told_of_a_class_is_asked_again(peers: Peers) -> None:
    peer = peers(dumb)
    api = Api(peer.url)
    began = time.monotonic()
    assert api.remote_nodes([f"A{n}" for n in range(1000)], 0.3) is None
    assert time.monotonic() - began < 15
    assert api.remote_nodes([], 0.3) == frozenset()


@pytest.mark.parametrize(
    ("classes", "remote", "expected"),
    [
        ({"A"}, frozenset(), Patience.NORMAL),
        ({"A"}, {"A"}, Patience.REMOTE),
        ({"A"}, None, Patience.REMOTE),
        ({"A", "Image Filter"}, {"A"}, Patience.ENDLESS),
        ({"A", "Mine"}, frozenset(), Patience.ENDLESS),
        (frozenset(), frozenset(), Patience.NORMAL),
    ],
)
def test_patience_is_as_long_as_the_most_patient_node(
    classes: set[str], remote: set[str] | None, expected: Patience
) -> None:
    assert patience(classes, remote, ("Mine",)) is expected


def test_no_patient_node_is_named_twice() -> None:
    assert len(set(PATIENT_NODES)) == len(PATIENT_NODES)


@pytest.mark.parametrize(
    ("exception", "message", "expected"),
    [
        ("torch.AcceleratorError", "CUDA error: device-side assert triggered\nmore", Failure.STICKY),
        ("RuntimeError", "CUDA error: unspecified launch failure", Failure.STICKY),
        ("RuntimeError", "CUDA error: misaligned address\n", Failure.STICKY),
        ("RuntimeError", "CUDA error: uncorrectable ECC error encountered", Failure.STICKY),
        ("RuntimeError", "CUDA driver error: hardware stack error", Failure.STICKY),
        ("RuntimeError", "Triton Error [CUDA]: an illegal memory access was encountered", Failure.STICKY),
        ("RuntimeError", "sampler failed: CUDA error: an illegal instruction was encountered", Failure.STICKY),
        ("RuntimeError", "cudaErrorIllegalAddress: an illegal memory access", Failure.STICKY),
        ("RuntimeError", "CUDA error: no kernel image is available for execution on the device", Failure.CUDA),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`", Failure.CUDA),
        ("RuntimeError", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", Failure.CUDA),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`", Failure.OTHER),
        ("torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory", Failure.OTHER),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB", Failure.OTHER),
        ("torch.AcceleratorError", "CUDA error: out of memory", Failure.OTHER),
        ("AssertionError", "Torch not compiled with CUDA enabled", Failure.OTHER),
        ("ValueError", "misaligned address", Failure.OTHER),
        ("ValueError", "CUDA is fine\nmore: misaligned address", Failure.OTHER),
        ("RuntimeError", "Expected all tensors to be on the same device, cuda:0 and cpu!", Failure.OTHER),
        ("", "", Failure.OTHER),
    ],
)
def test_only_errors_that_break_the_process_are_sticky(exception: str, message: str, expected: Failure) -> None:
    assert failure(exception, message) is expected
