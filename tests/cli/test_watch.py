"""What ``watch`` tells of the health listener's deeds."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from tests.cli.service import Service

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.fixture
def service(service: Service) -> Service:
    """A user whose configuration is rendered, and nothing runs."""
    service.ok("render")
    return service


def decide(service: Service, *deeds: str) -> None:
    """Write down what a health listener would have done, a minute apart."""
    with (service.state / "cpu" / "decisions.jsonl").open("a") as file:
        for minute, deed in enumerate(deeds):
            at = (BEGAN + timedelta(minutes=minute)).isoformat()
            verdict = {"word": "SUSPECT", "deed": deed, "reason": f"reason {minute}"}
            file.write(json.dumps({"v": 1, "at": at, "verdict": verdict}, separators=(",", ":")) + "\n")


def test_off_a_terminal_a_deed_is_told_as_it_is_done(service: Service) -> None:
    decide(service, "kill")
    watch = service.start("watch")
    watch.wait_for("comfyui DOWN")
    decide(service, "restart", "nothing", "alert")
    watch.wait_for("comfyui: SUSPECT [alert]: reason 2\n")
    assert f"{BEGAN.astimezone():%H:%M:%S} comfyui: SUSPECT [restart]: reason 0\n" in watch.output
    assert "[kill]" not in watch.output
    assert "nothing" not in watch.output
    watch.interrupt()
    assert watch.end() == 130


def test_on_a_terminal_the_last_ones_stand_below_the_table(service: Service) -> None:
    decide(service, "kill", "restart", "alert", "restart")
    shown = service.on_terminal("watch", "reason 3")
    assert (
        f"{BEGAN.astimezone() + timedelta(minutes=1):%Y-%m-%d %H:%M:%S} comfyui: SUSPECT [restart]: reason 1" in shown
    )
    assert shown.index("last decisions:") < shown.index("reason 1") < shown.index("reason 2") < shown.index("reason 3")
    assert "reason 0" not in shown
