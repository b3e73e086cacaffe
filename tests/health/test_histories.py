"""Nights that were lived through on paper, replayed in milliseconds.

A history is a file of JSON lines. Each tells how the instance looked ``for`` so many seconds: ``look`` has what changes
in the observation from there on (null: as usual again), ``cores``, ``pace`` and ``log`` what its process does each
second, ``status`` the kernel's letter for it. ``says`` is what the policy has to say in that time: each change of its
word, and each deed, in order.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor import codec
from comfy_supervisor.health.policy.evidence import Deed, Observation

from .looks import CLOSELY, Day, seen

HISTORIES = sorted(Path(__file__).with_name("histories").glob("*.jsonl"))


def _replay(day: Day, line: dict[str, Any], look: dict[str, Any]) -> list[str]:
    """Return what the policy says in the time that one line tells of."""
    said = []
    word = day.word()
    end = day.now + line["for"]
    while day.now < end:
        vitals = None if look.get("vitals", "") is None else codec.plain(day.body(line.get("status", "S")))
        shown = codec.understood(Observation, {**codec.plain(seen()), **look, "vitals": vitals})
        verdict = day.look(**{name: value for name, value in vars(shown).items() if name != "log"})
        if verdict.word is not word or verdict.deed is not Deed.NOTHING:
            said.append(" ".join([verdict.word.value] + [verdict.deed.value] * (verdict.deed is not Deed.NOTHING)))
        word = verdict.word
        step = day.rules.suspect_every if word in CLOSELY else day.rules.probe_every
        day.now += step
        day.cpu += line.get("cores", 0.0) * step
        day.io += int(line.get("pace", 0) * step)
        day.log += int(line.get("log", 0) * step)
    return said


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_history(file: Path) -> None:
    day = Day()
    look: dict[str, Any] = {}
    for number, text in enumerate(file.read_text().splitlines(), 1):
        line = json.loads(text)
        look = {
            key: value for key, value in {**look, **line.get("look", {})}.items() if value is not None or key == "life"
        }
        assert _replay(day, line, look) == line["says"], f"line {number}"


def test_there_are_histories() -> None:
    assert HISTORIES
