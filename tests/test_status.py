"""What is made of an instance's age, its GPU and its command."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor import status
from comfy_supervisor.cli.status import cells, remarks
from comfy_supervisor.health.ledger import Report
from comfy_supervisor.health.senses.probe import Answer
from comfy_supervisor.incidents.incident import Incident, Kind
from comfy_supervisor.incidents.mask import Mask
from comfy_supervisor.incidents.store import Store
from comfy_supervisor.launch import records
from comfy_supervisor.launch.holds import Hold
from comfy_supervisor.model import GpuUse
from comfy_supervisor.rendered import Rendered, Service
from comfy_supervisor.rpc import Process
from comfy_supervisor.status import Status
from tests.comfyui_server import STANDIN_FOLDER

USES = {
    use.uuid: use
    for use in (GpuUse("MIG-a", 1, 10, None), GpuUse("GPU-1", 2, 20, 5, index=1), GpuUse("GPU-2", 3, 30, 6, index=2))
}
"""GPU 0 is in MIG mode, and there may be lost ones that NVML says nothing of."""


@pytest.mark.parametrize(("pinned", "found"), [("1", "GPU-1"), ("2", "GPU-2"), ("GPU-2", "GPU-2"), ("MIG-a", "MIG-a")])
def test_the_pinned_gpu_is_found_by_index_or_uuid(pinned: str, found: str) -> None:
    assert status._use(instance(pinned), USES) == USES[found]


@pytest.mark.parametrize("pinned", ["", "0", "7", "GPU-gone"])
def test_no_other_gpu_is_shown_instead(pinned: str) -> None:
    assert status._use(instance(pinned), USES) is None


@pytest.mark.parametrize(
    ("error", "uptime", "starting", "text"),
    [
        ("connection refused", 42.4, True, "not yet listening; started 42 s ago"),
        ("connection refused", 720.0, False, "connection refused, 12 min after its start; comfy-supervisor logs"),
        ("no answer in time", 42.0, False, "no answer in time"),
    ],
)
def test_silence_is_told_by_the_age_of_its_process(error: str, uptime: float, starting: bool, text: str) -> None:
    answer = Answer(ready=False, error=error)
    assert status._silence(answer, uptime).startswith(text)
    assert Status(instance(), "RUNNING", "", 7, uptime, answer).starting is starting
    assert not Status(instance(), "HELD", "", 7, uptime, answer).starting


@pytest.mark.parametrize(
    ("text", "until", "told"),
    [
        (
            "it died; next start in 20 s; its last line: next start in 5 s",
            120.0,
            "it died; next start in 8 s; its last",
        ),
        ("too many deaths", 900.0, "too many deaths; next start in 788 s"),
        ("of a moment ago; next start in 20 s", 100.0, "of a moment ago; next start in 0 s"),
        ("port 8188 is held by nginx", None, "port 8188 is held by nginx"),
    ],
)
def test_a_hold_counts_down(text: str, until: float | None, told: str) -> None:
    assert status.counted_down(text, Hold("backoff", text, 100.0, until), 112.0).startswith(told)


def test_the_listeners_word_of_a_hold_counts_down_too(tmp_path: Path) -> None:
    now = time.time()
    said = {"word": "BACKOFF", "since": now, "cause": "unknown", "reason": "it died; next start in 20 s", "at": now}
    records.write(str(tmp_path / "status.json"), said)
    held = Status(replace(instance(), state=tmp_path), "HELD", hold=Hold("backoff", "", now - 20, now + 0.01))
    found = status._with_health(held, 0.0, wanted=True).health
    assert found
    assert found.reason == "it died; next start in 0 s"


@pytest.mark.parametrize(
    ("statename", "start", "counts"),
    [
        ("RUNNING", 100, True),
        ("STARTING", 100, True),
        ("STARTING", 300, False),
        ("BACKOFF", 100, False),
        ("STOPPED", 100, False),
    ],
)
def test_a_listener_that_has_just_been_started_is_listened_to_once_it_has_spoken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statename: str, start: int, counts: bool
) -> None:
    """supervisord calls it RUNNING only after some seconds."""
    said = {"word": "IDLE", "since": 50.0, "cause": "healthy", "reason": "works, and has no job", "at": 200.0}
    records.write(str(tmp_path / "status.json"), said)
    monkeypatch.setattr(time, "time", lambda: 210.0)
    listener = Process("h", "h", statename, 7, start, 0, 210, "", "", "")
    runs = Status(replace(instance(), state=tmp_path), "RUNNING", uptime=999.0)
    found = status._with_health(runs, status._listens_since(listener), wanted=True)
    assert (found.watched, found.health is not None) == (counts, counts)


def test_the_launchers_age_and_memory_are_not_shown_as_comfyuis() -> None:
    held = Status(instance(), "HELD", "a backoff", 7, 42.0, memory=1 << 30)
    assert cells(held)[3:5] == ("7", "-")
    assert "1024 MiB" not in cells(held)
    assert {"42 s", "1024 MiB"} < set(cells(replace(held, state="RUNNING")))


def test_what_is_given_up_is_not_told_twice_that_its_budget_is_spent() -> None:
    report = Report("GAVE_UP", 1.0, "segfault", "3 deaths and restarts", 2.0, restarts=(1.0, 2.0, 3.0), budget=2)
    row = Status(instance(), "RUNNING", pid=7, health=report)
    assert said(row) == [
        "comfyui: segfault: 3 deaths and restarts",
        "comfyui: 3 of 2 restarts and deaths spent, within 0 h",
    ]
    assert said(replace(row, health=replace(report, given_up=True))) == ["comfyui: segfault: 3 deaths and restarts"]


def test_an_incident_is_spoken_of_for_a_day(tmp_path: Path) -> None:
    """Of forty instances, most have had one some day."""
    made = Incident("20261130T030000Z-gpu0-stalled", 1000.0, "gpu0", "comfyui", Kind.RESTART, "stalled", "no step")
    kept = Store(tmp_path / "incidents").add(made, {}, Mask())
    row = Status(replace(instance(), state=tmp_path / "gpu0"), "RUNNING", pid=7)
    last = "last incident, 23 h 59 min ago: comfyui was restarted: stalled: no step; comfy-supervisor incidents show"
    assert said(row, now=1000.0 + 86399) == [f"{last} {kept.id}"]
    assert said(row, now=1000.0 + 86401) == []


def test_that_many_are_the_stand_in_is_said_once() -> None:
    one = Status(instance(command=("python3", f"{STANDIN_FOLDER}/main.py")), "RUNNING", pid=7)
    others = [replace(one, instance=replace(one.instance, program=f"comfyui:gpu{number}")) for number in range(40)]
    (line,) = said(*others)
    assert line.endswith("comfyui:gpu9 and 30 more: the stand-in, not ComfyUI: it generates no images")
    assert said(one) == ["comfyui: the stand-in, not ComfyUI: it generates no images"]


def said(*rows: Status, now: float = 0.0) -> list[str]:
    nowhere = Path("/x")
    return list(remarks(Service(nowhere, nowhere, nowhere, nowhere, ()), rows, now))


@pytest.mark.parametrize(("main", "is_it"), [("/srv/ComfyUI/main.py", False), (f"{STANDIN_FOLDER}/main.py", True)])
def test_the_stand_in_is_known_by_its_command(main: str, is_it: bool) -> None:
    assert instance(command=("/usr/bin/python3", main, "--cpu")).standin is is_it
    assert not instance().standin


def instance(pinned: str = "", command: tuple[str, ...] = ()) -> Rendered:
    folder = Path("/x")
    return Rendered("comfyui", "gpu0", ("127.0.0.1:8188",), folder, folder, folder / "log", pinned, command)
