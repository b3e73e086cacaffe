"""comfy-supervisor's own extension, within ComfyUI: what it writes down of jobs, and what its heartbeat tells."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import comfy_supervisor
from tests.comfyui_server import Kind, Server, fail_job, image_job, sleep_job
from tests.support import wait_until

EXTENSION = Path(comfy_supervisor.__file__).with_name("extension")


@dataclass
class Bridged:
    """A ComfyUI with the extension."""

    server: Server
    state: Path
    run: Path

    def states(self, *jobs: str) -> list[str]:
        """Return what the journal says of some jobs."""
        journal = f"file:{self.state / 'journal.sqlite'}?mode=ro"
        with closing(sqlite3.connect(journal, uri=True, timeout=10)) as connection:
            found = dict(connection.execute("SELECT prompt_id, state FROM jobs").fetchall())
        return [found.get(job, "unknown") for job in jobs]

    def heartbeat(self) -> dict[str, Any]:
        """Return what is told now."""
        told: dict[str, Any] = json.loads((self.run / "heartbeat.json").read_text())
        return told


@contextmanager
def with_bridge(kind: Kind, home: Path) -> Iterator[Bridged]:
    """Start one, with all its files under `home`."""
    state, run = home / "state", home / "run"
    state.mkdir()
    run.mkdir()
    config = home / "extension.yaml"
    config.write_text(json.dumps({"comfy_supervisor": {"custom_nodes": str(EXTENSION)}}))
    environment = {"COMFY_SUPERVISOR_STATE": str(state), "COMFY_SUPERVISOR_RUN": str(run)}
    flags = ("--extra-model-paths-config", str(config))
    server = Server(kind, home / "comfyui", *flags, environment=environment)
    try:
        yield Bridged(server.until_ready(), state, run)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def bridged(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridged]:
    """One process for all tests here."""
    with with_bridge(kind, tmp_path_factory.mktemp("bridged")) as one:
        yield one


def test_it_is_imported(bridged: Bridged) -> None:
    assert f" seconds: {EXTENSION / 'comfy_supervisor_bridge'}\n" in bridged.server.log
    assert "comfy-supervisor: " not in bridged.server.log, "it has something to complain of"


def test_the_heart_beats_and_the_worker_lives(bridged: Bridged) -> None:
    wait_until((bridged.run / "heartbeat.json").exists)
    first = bridged.heartbeat()
    assert first["pid"] == bridged.server.process.pid
    assert first["journal"] == "ok"
    wait_until(lambda: bridged.heartbeat()["at"] > first["at"])
    wait_until(lambda: bridged.heartbeat()["worker"] == "alive")


def test_each_job_is_written_down_with_its_end(bridged: Bridged) -> None:
    """As queued before its submission is answered, then as running, then as it ended."""
    server = bridged.server
    running = server.submit(sleep_job(60))
    server.until_running(running)
    jobs = [server.submit(job) for job in (image_job(), fail_job(), sleep_job(0), image_job())]
    assert bridged.states(*jobs) == ["queued"] * len(jobs)
    wait_until(lambda: bridged.states(running) == ["running"])
    server.post("/queue", {"delete": jobs[-1:]})
    assert bridged.states(jobs[-1]) == ["deleted"]
    server.post("/interrupt", {"prompt_id": running})
    for job in (running, *jobs[:-1]):
        server.finished(job)
    assert bridged.states(running, *jobs) == ["deleted", "done", "failed", "done", "deleted"]


def test_the_heartbeat_names_the_running_node_and_its_steps(bridged: Bridged) -> None:
    server = bridged.server
    job = server.submit(sleep_job(60, steps=600))
    wait_until(lambda: bridged.heartbeat()["step"] > 1)
    told = bridged.heartbeat()
    assert (told["prompt_id"], told["node"], told["class_type"]) == (job, "1", "StandinSleep")
    assert (told["total"], told["queue"]) == (600, [1, 0])
    wait_until(lambda: bridged.heartbeat()["step"] > told["step"])
    assert bridged.heartbeat()["progress_at"] > told["progress_at"]
    server.post("/interrupt", {"prompt_id": job})
    server.finished(job)
    wait_until(lambda: (bridged.heartbeat()["prompt_id"], bridged.heartbeat()["queue"]) == ("", [0, 0]))


def test_no_job_is_begun_while_there_is_a_pause(bridged: Bridged) -> None:
    server, pause = bridged.server, bridged.run / "pause.json"
    pause.touch()
    try:
        job = server.submit(sleep_job(0))
        wait_until(lambda: bridged.heartbeat()["held"] == "paused")
        with pytest.raises(AssertionError, match="not within"):
            wait_until(lambda: server.get(f"/history/{job}"), 1.5)
        assert (bridged.states(job), server.remaining()) == (["queued"], 1)
    finally:
        pause.unlink()
    server.finished(job)
    assert bridged.states(job) == ["done"]
