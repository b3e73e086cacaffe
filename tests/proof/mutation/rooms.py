"""What is mutated, and the quick tests that have to notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Room:
    """Files that are mutated, and the tests that are run for each mutant until one fails; the quickest first."""

    name: str
    files: Sequence[str]
    tests: Sequence[str]


def _policy() -> list[str]:
    folder = ROOT / "comfy_supervisor" / "health" / "policy"
    return [str(file.relative_to(ROOT)) for file in sorted(folder.glob("*.py"))]


ROOMS = (
    Room(
        "policy",
        _policy(),
        (
            "tests/health/test_policy_types.py",
            "tests/health/test_policy_case.py",
            "tests/health/test_policy_clues.py",
            "tests/health/test_policy_memory.py",
            "tests/health/test_policy_fleet.py",
            "tests/health/test_policy_judge.py",
            "tests/health/test_guard.py",
            "tests/health/test_policy.py",
            "tests/health/test_policy_honest_work.py",
            "tests/health/test_histories.py",
            "tests/health/test_policy_defaults.py",
        ),
    ),
    Room("flags", ["comfy_supervisor/flags.py"], ["tests/test_flags_words.py", "tests/test_flags.py"]),
    Room("quoting", ["comfy_supervisor/render/quote.py"], ["tests/render/test_quote.py"]),
    Room(
        "fate and replay",
        ["comfy_supervisor/jobs/fate.py", "comfy_supervisor/jobs/replay.py"],
        ["tests/jobs/test_fate.py", "tests/jobs/test_replay.py"],
    ),
    Room(
        "journal, the listener's side",
        ["comfy_supervisor/jobs/journal.py"],
        [
            "tests/jobs/test_journal.py",
            "tests/jobs/test_snapshot.py",
            "tests/jobs/test_replay.py",
            "tests/jobs/test_porter.py",
        ],
    ),
    Room(
        "journal, the extension's side",
        ["comfy_supervisor/extension/comfy_supervisor_bridge/journal.py"],
        ["tests/extension/test_journal.py", "tests/extension/test_hooks.py", "tests/extension/test_writer.py"],
    ),
)
