"""Whose decisions ``audit`` takes once more, by what it is given."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from comfy_supervisor import codec
from comfy_supervisor.health.ledger import DECISIONS, Decision
from comfy_supervisor.health.policy.evidence import Observation, State, Verdict, Word
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from tests.cli.service import Service
from tests.nvml import Card, Nvml

SEEN = Observation("STOPPED")


def decide(folder: Path, count: int = 1, verdict: Verdict | None = None, file: str = DECISIONS) -> Path:
    """Write down what the policy decides, or something else; return the file."""
    verdict = verdict or judge(State(), SEEN, 1000.0, Rules())[1]
    decision = Decision("2026-01-02T03:04:05.678+00:00", folder.name, 1000.0, Rules(), State(), SEEN, verdict)
    (folder / file).write_text(f"{json.dumps({'v': 1, **codec.changed(decision)})}\n" * count)
    return folder / file


@pytest.fixture
def several(gpu_service: Service, nvml: Nvml) -> Service:
    """A user with two instances, of which the first was decided on twice, the second once and long ago."""
    nvml.cards([Card(), Card()])
    gpu_service.settings(gpu={"devices": "all"})
    gpu_service.ok("render")
    decide(gpu_service.state / "gpu0", 2)
    decide(gpu_service.state / "gpu1", file=f"{DECISIONS}.1")
    return gpu_service


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ("", 3),
        ("comfyui", 3),
        ("gpu0", 2),
        ("comfyui:gpu1", 1),
        ("gpu0 gpu1", 3),
        ("state", 3),
        ("state/gpu0", 2),
        (f"state/gpu0/{DECISIONS} gpu1", 3),
    ],
)
def test_instances_files_and_folders(names: str, count: int, several: Service) -> None:
    said = several.ok("audit", "-v", *names.split())
    assert said.count("STOPPED: somebody stopped it") == count
    assert said.endswith(f"{count} decision{'s' * (count != 1)}, none of them different today\n")


def test_one_that_would_not_be_taken_again(several: Service) -> None:
    decide(several.state / "gpu1", verdict=Verdict(Word.BUSY, reason="for no reason"))
    done = several.run("audit")
    assert done.returncode == 1
    assert "gpu1: BUSY: for no reason\n   today: STOPPED" in done.stdout
    assert done.stdout.endswith("4 decisions, 1 of them different today\n")


def test_nothing_is_not_well(several: Service) -> None:
    (several.folder / "empty").touch()
    for name in ("/dev/null", "empty"):
        done = several.run("audit", name)
        assert (done.returncode, done.stdout) == (1, "no decisions at all\n")
        assert done.stderr == f"note: {name}: there is nothing in it\n"


def test_no_instance_was_ever_decided_on(service: Service) -> None:
    service.ok("render")
    done = service.run("audit")
    assert (done.returncode, done.stdout) == (1, "no decisions at all\n")


def test_what_means_none_is_a_mistake(several: Service) -> None:
    assert several.refused("audit", "gpu7") == "error: gpu7: no such program; there is comfyui:gpu0, comfyui:gpu1\n"
    assert several.refused("audit", "./gpu7") == "error: gpu7: No such file or directory\n"
    assert several.refused("audit", "./home") == f"error: ./home: has no {DECISIONS}, and neither has a folder in it\n"


def test_a_file_needs_no_configuration(service: Service) -> None:
    decide(service.folder)
    assert service.ok("audit", DECISIONS).startswith("1 decision,")
    assert "nothing is rendered yet" in service.refused("audit")


def test_what_comfyuis_account_may_have_put_in_its_place_is_not_opened(several: Service) -> None:
    (several.state / "gpu0" / DECISIONS).unlink()
    os.mkfifo(several.state / "gpu0" / DECISIONS)
    assert several.ok("audit").startswith("1 decision,")
