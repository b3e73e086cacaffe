"""A listener that is killed, for real, as it puts a job back into the queue of a ComfyUI without the extension."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from comfy_supervisor.jobs import replay
from comfy_supervisor.jobs.comfy import Comfy
from comfy_supervisor.jobs.job import SUBMITTED, Life, Process, State
from comfy_supervisor.jobs.replay import Replay
from tests.comfyui_server import Server, sleep_job, standin
from tests.support import wait_until

from .conftest import Kept

LISTENER = """\
import os, signal, sys
from comfy_supervisor.jobs.comfy import Comfy
from comfy_supervisor.jobs.journal import Journal
from comfy_supervisor.jobs.replay import Replay

folder, url, when = sys.argv[1:]
submit = Comfy.submit

def submits(self, *job):
    if when != "before":
        submit(self, *job)
    os.kill(os.getpid(), signal.SIGKILL)

Comfy.submit = submits
journal = Journal(folder)
Replay(journal, Comfy(url), journal.newest_life(), print, print, lambda: True).turn(10.0)
"""
IDS = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(3)]


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(standin("0.33.0"), tmp_path_factory.mktemp("standin"))
    try:
        yield server.until_ready()
    finally:
        server.stop()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_listener_killed_about_a_request_of_a_replay_loses_and_repeats_nothing(
    tmp_path: Path, kept: Kept, comfyui: Server, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """After it has marked the job as submitted: before the request, or when nobody is left to hear the answer."""
    monkeypatch.setattr(replay, "DOUBT", 0.2)
    comfyui.post("/history", {"clear": True})
    taken = comfyui.log.count("got prompt")
    life = _left_behind(kept)
    killed = subprocess.run([sys.executable, "-c", LISTENER, tmp_path, comfyui.url, when], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert [kept.job(each).note for each in IDS] == [SUBMITTED, "", ""]
    with closing(Comfy(comfyui.url)) as comfy:
        next_one = Replay(kept.journal, comfy, life, lambda *_: None, lambda _: None, lambda: True)
        wait_until(lambda: next_one.turn(time.monotonic()))
    wait_until(lambda: comfyui.remaining() == 0)
    assert list(comfyui.get("/history")) == IDS
    assert comfyui.log.count("got prompt") == taken + len(IDS)
    assert {(kept.job(each).life, kept.job(each).note) for each in IDS} == {(life.id, "")}


def _left_behind(kept: Kept) -> Life:
    """Write down jobs that a dead life has left behind, and the next life, of which only the listener knows."""
    dead = kept.life(1)
    for number, prompt_id in enumerate(IDS):
        kept.journal.accept((number, prompt_id, sleep_job(0), {}, ["1"]), dead, State.QUEUED)
    kept.settle(dead)
    return kept.journal.begin_life(Process("boot", 2, 2.0), time.time())
