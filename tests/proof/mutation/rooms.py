"""What is mutated, the quick tests that have to notice, and how far these come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
REACHED = "reach.json"
"""The file in which it is told how far they come."""
LEAST = 20.0
"""Seconds that a mutant's tests may take in any case."""


@dataclass(frozen=True)
class Room:
    """Files that are mutated, and the tests that are run for each mutant until one fails; the quickest first."""

    name: str
    files: Sequence[str]
    tests: Sequence[str]


@dataclass(frozen=True)
class Reach:
    """What the tests reach."""

    seconds: Mapping[str, float]
    """How long each test takes, by its id."""
    functions: Mapping[str, Sequence[tuple[int, int, Sequence[str]]]]
    """By file, the first and last line of each function's body, and the tests that come there; inner ones first.

    Left out are those that are called while modules are imported, and what is within them.
    """
    branches: int
    missing: Sequence[str]
    """Branches that no test takes, as ``file: from → to``."""

    def is_within(self, file: str, line: int) -> bool:
        """Tell whether a line is within a function that only tests come into."""
        return any(first <= line <= last for first, last, _ in self.functions[file])

    def tests(self, file: str, line: int) -> Mapping[str, float]:
        """Return which tests might notice a change of a line, and how long each takes."""
        for first, last, tests in self.functions[file]:
            if first <= line <= last:
                return {test: self.seconds[test] for test in tests}
        return self.seconds


_BRIDGE = "comfy_supervisor/extension/comfy_supervisor_bridge"


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
        "jobs, carried over",
        ["comfy_supervisor/jobs/porter.py", "comfy_supervisor/jobs/words.py"],
        ["tests/jobs/test_words.py", "tests/jobs/test_porter_turns.py", "tests/jobs/test_porter.py"],
    ),
    Room(
        "jobs, seen from outside",
        [f"comfy_supervisor/jobs/{name}.py" for name in ("comfy", "job", "pause", "running", "snapshot")],
        [
            "tests/jobs/test_pause.py",
            "tests/jobs/test_running.py",
            "tests/jobs/test_values.py",
            "tests/jobs/test_comfy.py",
            "tests/jobs/test_snapshot.py",
            "tests/jobs/test_replay.py",
        ],
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
        [f"{_BRIDGE}/journal.py"],
        ["tests/extension/test_journal.py", "tests/extension/test_hooks.py", "tests/extension/test_writer.py"],
    ),
    Room(
        "journal, its file and rows",
        [f"{_BRIDGE}/life.py", f"{_BRIDGE}/rows.py", f"{_BRIDGE}/store.py"],
        [
            "tests/extension/test_rows.py",
            "tests/extension/test_store.py",
            "tests/jobs/test_journal.py",
            "tests/extension/test_journal.py",
            "tests/extension/test_hooks.py",
        ],
    ),
    Room(
        "journal, where jobs come to it",
        [f"{_BRIDGE}/gate.py", f"{_BRIDGE}/guard.py", f"{_BRIDGE}/hooks.py", f"{_BRIDGE}/writer.py"],
        ["tests/extension/test_hooks.py", "tests/extension/test_journal.py", "tests/extension/test_writer.py"],
    ),
)
