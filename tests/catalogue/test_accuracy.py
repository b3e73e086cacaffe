"""How often the catalogue is right. The table is printed: ``pytest -s tests/catalogue/test_accuracy.py``."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from comfy_supervisor import catalogue
from tests.catalogue.logs_kept import Kept, kept

FLOOR = 0.9
"""The share that has to be right of the logs that no signature was made to fit …"""
FLOOR_OF_EACH = 0.5
"""… and of those of each cause."""
ALL = kept()


def table(logs: list[Kept]) -> tuple[str, float, float]:
    """Return how many were right of each cause, the share of all, and that of the cause with the smallest."""
    right, of = Counter[str](), Counter[str]()
    for log in logs:
        of[log.cause] += 1
        right[log.cause] += log.explained().cause == log.cause
    rows = [f"{cause:<28}{right[cause]:>3} of {of[cause]:>3}" for cause in sorted(of)]
    rows.append(f"{'all':<28}{right.total():>3} of {of.total():>3}")
    return "\n".join(rows), right.total() / of.total(), min(right[cause] / of[cause] for cause in of)


@pytest.mark.parametrize("held_back", [False, True], ids=["seen", "held back"])
def test_the_cause_is_found(held_back: bool, capsys: pytest.CaptureFixture[str]) -> None:
    logs = [log for log in ALL if log.held_back is held_back]
    shown, share, least = table(logs)
    with capsys.disabled():
        print(f"\n{'held back' if held_back else 'seen'}:\n{shown}")  # noqa: T201  # it is what this is for
    wrong = [log.name for log in logs if log.explained().cause != log.cause]
    assert share >= (FLOOR if held_back else 1.0), wrong
    assert least >= FLOOR_OF_EACH, wrong


def test_about_a_third_is_held_back() -> None:
    assert 0.25 < sum(log.held_back for log in ALL) / len(ALL) < 0.42


@pytest.mark.parametrize("cause", [entry.cause for entry in catalogue.ENTRIES])
def test_every_cause_has_two_logs_and_one_that_is_held_back(cause: str) -> None:
    logs = [log for log in ALL if log.cause == cause]
    assert len(logs) >= 2
    assert any(log.held_back for log in logs)


@pytest.mark.parametrize("log", ALL, ids=lambda log: log.name)
def test_what_is_pointed_at_is_there(log: Kept) -> None:
    found = log.explained()
    lines = log.file.read_bytes().split(b"\n")
    assert all(lines[number - 1].strip() for number in found.evidence)
    assert found.cause in ("healthy", "unknown") or found.evidence or log.ending


@pytest.mark.parametrize("log", ALL, ids=lambda log: log.name)
def test_a_log_that_came_through_others_hands_says_the_same(log: Kept) -> None:
    """Windows' line ends, and the prefixes of docker compose and of ComfyUI-Manager."""
    lines = log.file.read_bytes().split(b"\n")
    for prefix in (b"", b"comfyui  | ", b"[2026-03-14 02:11:07.904] "):
        changed = [prefix + line + b"\r\n" for line in lines]
        assert catalogue.explain(changed, **log.ending).cause == log.explained().cause


@pytest.mark.parametrize("log", [log for log in ALL if log.cause == "healthy"], ids=lambda log: log.name)
def test_harmless_warnings_are_not_blamed(log: Kept) -> None:
    found = log.explained()
    assert (found.cause, found.evidence, found.also_possible) == ("healthy", (), ())


def test_no_log_tells_of_the_machine_it_was_made_on() -> None:
    telling = re.compile(rb"/root\b|/work/|/tmp/")
    assert not [log.name for log in ALL if telling.search(log.file.read_bytes())]
