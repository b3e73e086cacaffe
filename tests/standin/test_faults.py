"""What the stand-in does wrong when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from unittest import mock

import psutil
import pytest
import requests
from aiohttp.test_utils import make_mocked_request

from comfy_supervisor.standin.faults import FAULTS, post_standin
from tests.comfyui_server import Listener, Server, fail_job, image_job, sleep_job
from tests.support import wait_until

Start = Callable[..., Server]


def cpu_seconds(server: Server) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return times.user + times.system


def is_silent(server: Server) -> bool:
    """Tell whether there is no answer within a moment."""
    try:
        requests.get(f"{server.url}/prompt", timeout=0.3)
    except requests.Timeout:
        return True
    return False


def test_an_unknown_command_is_answered_with_those_that_are_known(server: Server) -> None:
    answer = server.post("/standin", {"do": "nonsense"})
    assert answer.status_code == 400
    assert set(answer.json()["commands"]) == set(FAULTS)
    assert all(answer.json()["commands"].values())


@pytest.mark.parametrize(
    "order", [[], "stall", {}, {"do": "stall", "odd": 1}, {"do": "hold_answers", "how": "odd"}, {"do": "redirect"}]
)
def test_an_unfit_command_is_refused(server: Server, order: object) -> None:
    assert server.post("/standin", order).status_code == 400
    assert not is_silent(server)


def test_commands_are_unknown_to_those_who_are_not_on_this_machine() -> None:
    transport = mock.Mock(get_extra_info=lambda *_: ("192.0.2.1", 50000))
    answer = asyncio.run(post_standin(make_mocked_request("POST", "/standin", transport=transport)))
    assert answer.status == 404


def test_a_stall_is_no_progress_and_no_cpu_and_ends_with_an_interrupt(server: Server) -> None:
    server.order("stall")
    prompt_id = server.submit(image_job())
    server.until_running(prompt_id)
    before = cpu_seconds(server)
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: server.get(f"/history/{prompt_id}"), 1.0)
    assert cpu_seconds(server) - before < 0.9
    server.post("/interrupt", {"prompt_id": prompt_id})
    assert server.finished(prompt_id)["status"]["messages"][-1][0] == "execution_interrupted"


def test_a_deaf_stall_ignores_interrupts_until_it_is_taken_back(server: Server) -> None:
    prompt_id = server.submit(sleep_job(0.5))
    server.order("stall", deaf=True)
    server.post("/interrupt", {"prompt_id": prompt_id})
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: server.get(f"/history/{prompt_id}"), 1.0)
    server.order("recover")
    server.finished(prompt_id)


def test_a_dead_worker_leaves_its_job_running_for_ever_and_the_api_fine(start: Start) -> None:
    server = start().until_ready()
    prompt_id = server.submit(sleep_job(60))
    server.until_running(prompt_id)
    waiting = server.submit(image_job())
    server.order("worker_dies")
    wait_until(lambda: "Exception in thread Thread-1 (prompt_worker)" in server.log)
    server.post("/interrupt", {})
    queue = server.get("/queue")
    assert [item[1] for item in queue["queue_running"]] == [prompt_id]
    assert [item[1] for item in queue["queue_pending"]] == [waiting]
    assert server.get("/history") == {}


@pytest.mark.parametrize("poison", ["by order", "by a job"])
def test_a_poisoned_cuda_fails_every_later_job_at_once(server: Server, poison: str) -> None:
    if poison == "by order":
        server.order("cuda_poisoned")
    else:
        server.finished(server.submit(fail_job("cuda_poisoned")))
    for job in (image_job(colour=7), sleep_job(60)):
        name, error = server.finished(server.submit(job))["status"]["messages"][-1]
        assert name == "execution_error"
        assert error["exception_type"] == "torch.AcceleratorError"
        assert error["exception_message"].startswith("CUDA error: an illegal memory access was encountered")
    assert "CUDA error: an illegal memory access was encountered" in server.log


def test_running_out_of_memory_fails_one_job(server: Server) -> None:
    error = server.finished(server.submit(fail_job("cuda_oom")))["status"]["messages"][-1][1]
    assert error["exception_type"] == "torch.OutOfMemoryError"
    assert "Allocation on device" in error["exception_message"]
    assert "Got an OOM, unloading all loaded models." in server.log
    assert server.finished(server.submit(image_job()))["status"]["status_str"] == "success"


def test_held_requests_are_accepted_and_not_answered_until_it_is_taken_back(server: Server) -> None:
    server.order("hold_answers")
    assert is_silent(server)
    assert is_silent(server)
    server.order("recover")
    assert not is_silent(server)


@pytest.mark.parametrize(("how", "seconds"), [("wait", 1.5), ("sleep", 1.5), ("burn", 4), ("gil", 4)])
def test_answers_are_held_for_a_time(server: Server, how: str, seconds: float) -> None:
    """How long the interpreter's lock is held is only estimated: nothing can look at a clock meanwhile."""
    started, before = time.monotonic(), cpu_seconds(server)
    server.order("hold_answers", how=how, seconds=seconds)
    assert is_silent(server)
    wait_until(lambda: not is_silent(server))
    assert time.monotonic() - started > 0.7
    burned = cpu_seconds(server) - before
    assert (burned > 0.1) == (how in {"burn", "gil"})


@pytest.mark.parametrize(("how", "goes_on"), [("sleep", True), ("gil", False)])
def test_only_a_held_interpreter_lock_stops_the_worker_too(server: Server, how: str, goes_on: bool) -> None:
    prompt_id = server.submit(sleep_job(0.2))
    server.until_running(prompt_id)
    server.order("hold_answers", how=how, seconds=6)
    wait_until(lambda: not is_silent(server), 60)
    times = {name: data["timestamp"] for name, data in server.finished(prompt_id)["status"]["messages"]}
    assert (times["execution_success"] - times["execution_start"] < 2000) == goes_on


def test_a_held_interpreter_lock_makes_it_deaf_to_sigint(start: Start) -> None:
    server = start().until_ready()
    server.order("hold_answers", how="gil")
    wait_until(lambda: is_silent(server))
    server.process.send_signal(signal.SIGINT)
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: server.process.poll() is not None, 1.5)
    server.process.send_signal(signal.SIGTERM)
    assert server.until_ended() == -signal.SIGTERM


def test_every_answer_is_an_internal_error(server: Server) -> None:
    server.order("http_500")
    assert server.session.get(f"{server.url}/prompt", timeout=30).status_code == 500
    assert server.session.get(f"{server.url}/api/queue", timeout=30).status_code == 500


def test_a_wrong_answer_lasts_as_long_as_was_ordered(server: Server) -> None:
    server.order("http_500", seconds=0.3)
    assert server.session.get(f"{server.url}/prompt", timeout=30).status_code == 500
    wait_until(lambda: server.session.get(f"{server.url}/prompt", timeout=30).ok)


def test_the_end_of_an_earlier_wrong_answer_does_not_end_a_later_one(server: Server) -> None:
    server.order("malformed_json", seconds=0.3)
    server.order("http_500")
    time.sleep(0.6)
    assert server.session.get(f"{server.url}/prompt", timeout=30).status_code == 500


def test_every_answer_is_broken_json(server: Server) -> None:
    server.order("malformed_json")
    answer = server.session.get(f"{server.url}/prompt", timeout=30)
    assert answer.ok
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_every_answer_is_huge(server: Server) -> None:
    server.order("huge_answer", size=3 * 1024**2 + 5)
    assert len(server.session.get(f"{server.url}/prompt", timeout=30).content) == 3 * 1024**2 + 5


def test_every_answer_leads_elsewhere(server: Server) -> None:
    server.order("redirect", to="http://127.0.0.1:9/elsewhere")
    answer = server.session.get(f"{server.url}/prompt", timeout=30, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:9/elsewhere")


def test_a_submission_is_taken_and_not_answered(server: Server) -> None:
    def ended() -> int:
        return len(server.session.get(f"{server.url}/history", timeout=30).json())

    before = ended()  # by other tests: the server is theirs, too
    server.order("lose_answers", count=1, after=1)
    job = {"prompt": sleep_job(0.05)}
    assert server.session.post(f"{server.url}/prompt", json=job, timeout=30).ok
    with pytest.raises(requests.ConnectionError):
        server.session.post(f"{server.url}/prompt", json=job, timeout=30)
    assert server.session.post(f"{server.url}/prompt", json=job, timeout=30).ok
    wait_until(lambda: ended() == before + 3)


def test_every_answer_trickles(server: Server) -> None:
    server.order("slow_loris", interval=0.05)
    with requests.get(f"{server.url}/prompt", timeout=5, stream=True) as answer:
        chunks = answer.iter_content(1)
        assert [next(chunks) for _ in range(5)] == [b" "] * 5


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"how": "abort"}, -signal.SIGABRT),
        ({"how": "segfault"}, -signal.SIGSEGV),
        ({"how": "exit", "code": 7}, 7),
        ({"how": "exit", "code": 0}, 0),
    ],
)
def test_a_crash_by_order(start: Start, options: dict[str, object], code: int) -> None:
    server = start().until_ready()
    server.order("crash", **options)
    assert server.until_ended() == code
    assert ("Fatal Python error: Segmentation fault" in server.log) == (code == -signal.SIGSEGV)


def test_a_job_can_crash_the_process(start: Start) -> None:
    server = start().until_ready()
    with contextlib.suppress(requests.RequestException):  # it may end before it answers, or in the midst of it
        server.submit({"1": {"class_type": "StandinCrash", "inputs": {"how": "exit", "code": 9}}})
    assert server.until_ended() == 9


def test_it_starts_anew_in_the_same_process(start: Start) -> None:
    server = start().until_ready()
    server.finished(server.submit(image_job()))
    server.order("reexec")
    wait_until(lambda: server.log.count("Starting server") == 2)
    assert server.until_ready().get("/history") == {}
    assert server.process.poll() is None


def test_it_leaks(start: Start) -> None:
    server = start().until_ready()
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    server.order("leak", mib_per_second=100)
    wait_until(lambda: process.memory_info().rss > before + 50 * 1024**2)
    assert server.remaining() == 0


def test_it_ignores_sigint(start: Start) -> None:
    server = start().until_ready()
    server.order("ignore_sigint")
    server.process.send_signal(signal.SIGINT)
    assert server.get("/prompt")
    assert server.process.poll() is None


def test_a_burning_job_uses_a_cpu_and_hears_an_interrupt(server: Server) -> None:
    prompt_id = server.submit(sleep_job(60, burn=True))
    server.until_running(prompt_id)
    before = cpu_seconds(server)
    wait_until(lambda: cpu_seconds(server) > before + 0.5)
    server.post("/interrupt", {"prompt_id": prompt_id})
    server.finished(prompt_id)


def test_a_silent_job_reports_no_progress(server: Server) -> None:
    listener = Listener(server)
    for silent in (True, False):
        server.finished(server.submit(sleep_job(0.1, steps=1, silent=silent), client_id=listener.client_id))
        wait_until(lambda: listener.events("executed"))
        assert bool(listener.events("progress")) is not silent
        listener.heard.clear()
    listener.leave()
