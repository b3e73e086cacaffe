"""What the health listener is told: who is watched, and by which numbers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor import watching
from comfy_supervisor.errors import UserError
from comfy_supervisor.health import watched
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.health.watched import Watched
from comfy_supervisor.settings import Settings


def _settings(**tables: Any) -> Settings:
    return Settings.model_validate(tables)


def test_the_settings_defaults_are_the_policys() -> None:
    assert watching.rules(_settings()) == Rules()


@pytest.mark.parametrize(
    ("table", "key", "field"),
    [
        *(("health", key, key) for key in ("probe_every", "suspect_every", "deadline", "start_grace", "start_quiet")),
        *(("health", key, key) for key in ("quiet", "patience", "active_window", "frozen", "paused", "recycle_after")),
        *(("stall", key, f"stall_{key}") for key in ("after", "api_after", "alert_after", "hard_limit")),
        ("stall", "interrupt_wait", "interrupt_wait"),
        *(("restart", key, key) for key in ("first_delay", "healthy_after", "budget", "window", "retry_after")),
        ("restart", "longest_delay", "longest_delay"),
    ],
)
def test_every_number_reaches_the_policy(table: str, key: str, field: str) -> None:
    assert getattr(watching.rules(_settings(**{table: {key: 77}})), field) == 77


def test_a_size_and_a_switch_reach_it_too() -> None:
    rules = watching.rules(_settings(health={"memory_limit": "2GiB"}, gpu={"require": False}))
    assert (rules.memory_limit, rules.gpu_require) == (2 * 1024**3, False)


def test_a_preset_counts_where_the_file_is_silent() -> None:
    rules = watching.rules(_settings(health={"preset": "fast", "frozen": 7.5}, stall={"api_after": 60}))
    assert (rules.frozen, rules.stall_api_after) == (7.5, 60)
    for field in watching.FAST.keys() - {"frozen"}:
        assert getattr(rules, field) == watching.FAST[field] < getattr(Rules(), field)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    rules = Rules(stall_after=30.0, memory_limit=5, gpu_meant=False)
    places = ("http://127.0.0.1:1", 1, "/s", "/r", "/l")
    jobs = (True, "crash", 60.0, 7)
    one = Watched("comfyui:gpu0", "gpu0", *places, "GPU-1", 3.0, ("A node",), rules, *jobs)
    file.write_text(watched.text([one, dataclasses.replace(one, id="gpu1")]))
    assert watched.read(file) == (one, dataclasses.replace(one, id="gpu1"))


def test_what_is_not_said_of_jobs_is_the_settings_default(tmp_path: Path) -> None:
    """Also in a file of a release that knew nothing of them."""
    file = tmp_path / "health.json"
    places = {"url": "http://127.0.0.1:1", "port": 1, "state": "/s", "run": "/r", "log": "/l"}
    file.write_text(json.dumps({"v": 1, "instances": [{"program": "comfyui", "id": "cpu", **places}]}))
    (one,) = watched.read(file)
    jobs = _settings().jobs
    assert (one.replay, one.max_age, one.history) == (jobs.replay, jobs.max_age, jobs.history)
    assert not one.extension


@pytest.mark.parametrize("content", ["", "{", "[]", '{"v": 1}', '{"v": 1, "instances": [{"id": 3}]}', "\x00"])
def test_a_file_that_makes_no_sense_is_named_with_its_mend(content: str, tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"health\.json: .*comfy-supervisor render writes it anew"):
        watched.read(file)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        watched.read(tmp_path / "health.json")
