"""``report``: what the records of some days come to."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor.jobs.job import Process
from comfy_supervisor.jobs.journal import Journal
from tests.cli.service import Service
from tests.nvml import Card, Nvml

HOUR = 3600.0
DOWN, UNSEEN = 1815.0, 7170.0


@pytest.fixture
def service(service: Service) -> Service:
    """A user whose configuration is rendered, and nothing runs."""
    service.ok("render")
    return service


def decided(folder: Path, at: float, word: str, *, was: int = 7, pid: int = 7, **verdict: str) -> None:
    """Write down a decision, as far as the report reads it."""
    line = {
        "at": datetime.fromtimestamp(at, timezone.utc).isoformat(),
        "now": at,
        "before": {"life": {"boot": "b", "pid": was, "started": 1.0}, "answered": at - 12.5, "began": 0.0},
        "seen": {"life": {"boot": "b", "pid": pid, "started": 1.0}},
        "verdict": {"word": word, **verdict},
    }
    with (folder / "decisions.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def lived(service: Service, now: float) -> Path:
    """Write down ten hours of an instance: one restart of half an hour, five jobs, and nobody looking for two hours."""
    folder = service.state / "cpu"
    decided(folder, now - 10 * HOUR, "IDLE")
    decided(folder, now - 5 * HOUR, "RESTARTING", deed="restart", cause="api_unresponsive")
    decided(folder, now - 5 * HOUR + DOWN, "IDLE", was=8, pid=8)
    (folder / "gaps.jsonl").write_text(json.dumps({"begin": now - 3 * HOUR, "end": now - 3 * HOUR + UNSEEN}) + "\n")
    (folder / "status.json").write_text(json.dumps({"at": now}))
    with closing(Journal(folder)) as journal:
        journal.begin_life(Process("b", 7, 1.0), now)
    ends = [("done", 10), ("done", 30), ("done", 40), ("failed", 50), ("deleted", 60)]
    with closing(sqlite3.connect(folder / "journal.sqlite")) as sql, sql:
        sql.executemany(
            "INSERT INTO jobs (prompt_id, state, number, accepted, changed) VALUES (?, ?, 0, ?, ?)",
            [(str(after), state, now - HOUR, now - HOUR + after) for state, after in ends],
        )
    return folder


def values(service: Service, *arguments: str) -> dict[str, Any]:
    """Return what ``report --json`` tells."""
    found: dict[str, Any] = json.loads(service.ok("report", "--json", *arguments))
    return found


def test_the_page(service: Service) -> None:
    lived(service, time.time())
    assert [line.rstrip() for line in service.ok("report", "--since", "10h").splitlines()[1:]] == [
        "",
        "time     up       up for      down    stopped  unknown",
        "comfyui  93.70 %  7 h 30 min  30 min  0 s      1 h 59 min",
        "",
        "restarts  number  detected in  worst   up again in  worst   causes",
        "comfyui   1       12.5 s       12.5 s  30 min       30 min  api_unresponsive 1",
        "",
        "jobs     done  rescued  failed  quarantined  deleted",
        "comfyui  3     0        1       0            1",
        "",
        "a job took  median  p95     longest  and waited  median  p95     longest",
        "comfyui     10.0 s  20.0 s  20.0 s               10.0 s  40.0 s  40.0 s",
    ]


def test_what_a_program_reads(service: Service) -> None:
    now = time.time()
    lived(service, now)
    found = values(service, "--since", "10h")
    (instance,) = found["instances"]
    assert (found["v"], instance["program"], instance["id"]) == (1, "comfyui", "cpu")
    assert found["until"] - found["since"] == pytest.approx(10 * HOUR)
    assert instance["up_share"] == pytest.approx(27015 / 28830, abs=1e-4)
    assert instance["unknown_seconds"] == pytest.approx(UNSEEN, abs=1)
    assert instance["restarts_by_cause"] == {"api_unresponsive": 1}
    assert instance["detect_seconds"] == {"count": 1, "median": 12.5, "p95": 12.5, "longest": 12.5}
    assert instance["recover_seconds"]["longest"] == pytest.approx(DOWN)
    assert instance["jobs"] == {"done": 3, "rescued": 0, "failed": 1, "quarantined": 0, "deleted": 1}
    assert {**found["total"], "jobs_remembered_since": None} == {
        key: value for key, value in {**instance, "jobs_remembered_since": None}.items() if key not in ("program", "id")
    }


def test_without_records_nothing_is_known(service: Service) -> None:
    found = values(service)["total"]
    assert (found["up_share"], found["unknown_seconds"]) == (None, 7 * 24 * HOUR)
    assert "-" in service.ok("report")
    assert not list((service.state / "cpu").glob("journal*"))


def test_a_listener_that_is_gone_counts_nothing_as_up(service: Service) -> None:
    folder = lived(service, time.time())
    (folder / "status.json").write_text(json.dumps({"at": time.time() - 9 * HOUR}))
    assert values(service, "--since", "10h")["total"]["up_seconds"] == pytest.approx(HOUR, abs=60)


def test_several_instances_are_added_up(gpu_service: Service, nvml: Nvml) -> None:
    nvml.cards((Card(), Card()))
    gpu_service.settings(gpu={"devices": "all"})
    gpu_service.ok("render")
    now = time.time()
    for name in ("gpu0", "gpu1"):
        decided(gpu_service.state / name, now - 2 * HOUR, "BUSY")
        (gpu_service.state / name / "status.json").write_text(json.dumps({"at": now}))
    assert values(gpu_service)["total"]["up_seconds"] == pytest.approx(4 * HOUR, abs=60)
    assert [len(gpu_service.ok("report").split(name)) for name in ("comfyui:gpu0", "comfyui:gpu1", "\ntotal")] == [
        5
    ] * 3
    assert "\ntotal" not in gpu_service.ok("report", "gpu1")


def test_a_journal_that_can_not_be_read_is_said(service: Service) -> None:
    (service.state / "cpu" / "journal.sqlite").write_bytes(b"nothing of the kind" * 100)
    done = service.run("report")
    assert done.returncode == 1
    assert "not a database" in done.stderr


@pytest.mark.parametrize("since", ["7", "d", "0d", "-1d", "1y", "1.5h", "\x1b[1m"])
def test_a_time_that_is_none_is_refused(since: str, service: Service) -> None:
    said = service.refused("report", f"--since={since}")
    assert "such as 12h or 7d" in said
    assert "\x1b[1m" not in said


def test_jobs_that_are_forgotten_by_now_are_spoken_of(service: Service) -> None:
    service.settings(jobs={"history": 5})
    lived(service, time.time())
    assert "jobs.history = 5" in service.run("report").stderr
    service.settings()
    assert "jobs.history" not in service.run("report").stderr
