"""comfy-supervisor's own extension where things go wrong, as a real ComfyUI can't be told to."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.comfyui_server import fail_job, image_job, sleep_job, standin
from tests.contract.test_bridge import Bridged, with_bridge
from tests.standin.conftest import RELEASE
from tests.support import wait_until


@pytest.fixture
def bridged(tmp_path: Path) -> Iterator[Bridged]:
    """A stand-in of one's own, whose worker has asked for work."""
    with with_bridge(standin(RELEASE), tmp_path) as one:
        wait_until((one.run / "heartbeat.json").exists)
        wait_until(lambda: one.heartbeat()["worker"] == "alive")
        yield one


def test_a_dead_worker_is_told(bridged: Bridged) -> None:
    job = bridged.server.submit(sleep_job(60))
    bridged.server.until_running(job)
    bridged.server.order("worker_dies")
    wait_until(lambda: bridged.heartbeat()["worker"] == "dead")
    assert bridged.heartbeat()["queue"] == [1, 0]
    assert bridged.states(job) == ["running"]


def test_a_poisoned_gpu_gets_no_further_job(bridged: Bridged) -> None:
    """What waits stays where it is, in the queue and in the journal; the job that found it out has not failed."""
    server = bridged.server
    running = server.submit(sleep_job(60))
    server.until_running(running)
    poisoned, *waiting = (server.submit(job) for job in (fail_job("cuda_poisoned"), image_job(), image_job()))
    server.post("/interrupt", {"prompt_id": running})
    server.finished(poisoned)
    wait_until(lambda: bridged.heartbeat()["held"] == "poisoned")
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: server.remaining() < len(waiting), 1.5)
    assert bridged.states(*waiting) == ["queued"] * len(waiting)
    assert bridged.states(poisoned)[0] not in {"done", "failed", "deleted"}


def test_a_blocked_event_loop_is_told_while_the_heart_beats(bridged: Bridged) -> None:
    bridged.server.order("hold_answers", how="sleep")
    wait_until(lambda: bridged.heartbeat()["loop_lag"] > 1.5)
    assert bridged.heartbeat()["worker"] == "alive"


@pytest.mark.parametrize(("how", "where"), [("sleep", "in _sleep"), ("gil", "in _hold_lock")])
def test_a_signal_has_the_stacks_written_whatever_is_blocked(bridged: Bridged, how: str, where: str) -> None:
    name, stacks = bridged.heartbeat()["stack_signal"], bridged.run / "stacks.txt"

    def written() -> bool:
        bridged.server.process.send_signal(signal.Signals[name])
        return where in stacks.read_text() and "in prompt_worker" in stacks.read_text()

    bridged.server.order("hold_answers", how=how)
    wait_until(written)
    assert bridged.server.process.poll() is None


def test_a_held_interpreter_lock_stops_the_heart(bridged: Bridged) -> None:
    bridged.server.order("hold_answers", how="gil")
    wait_until(lambda: time.monotonic() - bridged.heartbeat()["at"] > 4)


def test_a_new_start_in_the_same_process_is_another_life(bridged: Bridged) -> None:
    before = bridged.heartbeat()
    waiting = bridged.server.submit(sleep_job(60))
    bridged.server.order("reexec")
    wait_until(lambda: bridged.heartbeat()["life"] != before["life"])
    assert bridged.heartbeat()["pid"] == before["pid"]
    bridged.server.until_ready()
    assert bridged.states(waiting)[0] in {"queued", "running"}
    assert bridged.server.remaining() == 0
