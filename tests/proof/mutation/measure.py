"""How many of the mutants the rooms' own quick tests notice, and whether these tests reach every branch."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from tests.bench.report import Report, note, table, versions
from tests.proof.plan import Plan

from .rooms import ROOMS, ROOT, Room

MOST = 240
"""Mutants of a room that are tried, drawn by the seed where there are more."""
WORKERS = 2
LEAST_PERCENT = 90.0
KNOWN = Path(__file__).with_name("equivalent.json")
"""Mutants that no test can notice: the line before and after, and why."""
_ENVIRON = {**os.environ, "CI": "true"}  # Hypothesis draws the same in each run
_HEADER = (
    "room",
    "mutants",
    "tried",
    "killed",
    "of these by time",
    "equivalent",
    "survived",
    "killed of all that can be",
)
_COVERED = ("room", "branches", "taken")
_HOW = f"""\
cosmic-ray's operators change one thing at a time in the rooms that decide and keep: a comparison, a number, `and` for
`or`, a decorator gone. Then the room's own quick tests are run until one fails. At most {MOST} mutants a room are
tried, drawn by the seed; left out is what only changes an annotation, which nothing evaluates, and `is` for `==` or
back, which are the same between members of an enumeration. A mutant is killed by
time where the tests take five times as long as without it. Equivalent are those of which
[tests/proof/mutation/equivalent.json](../tests/proof/mutation/equivalent.json) says why no test can notice them. At
least {LEAST_PERCENT:g} % of the others have to be killed, and the tests have to take every branch."""


@dataclass(frozen=True)
class Trial:
    """What came of one mutant."""

    file: str
    outcome: str
    line: int
    before: str
    after: str

    @property
    def where(self) -> str:
        """Where it was, and what it changed."""
        return f"- `{self.file}:{self.line}`: `{self.before}` → `{self.after}`"


@dataclass(frozen=True)
class Found:
    """What came of a room."""

    room: Room
    mutants: int
    trials: Sequence[Trial]
    branches: int
    missing: Sequence[str]
    """Branches that no test takes, as ``file: from → to``."""

    def of(self, *outcomes: str) -> list[Trial]:
        """Return the trials that ended in one of these ways."""
        return [trial for trial in self.trials if trial.outcome in outcomes]

    @property
    def percent(self) -> float:
        """How many were killed of those that can be."""
        killed = len(self.of("killed", "killed by time"))
        return 100.0 * killed / max(1, killed + len(self.of("survived")))


def measure(plan: Plan) -> Report:
    """Try the mutants of every room, one room after the other."""
    found = [_room(room, plan) for room in ROOMS]
    parts = [f"{_HOW}\n\n{versions('cosmic-ray', 'coverage', 'pytest')}:", table(_HEADER, map(_row, found))]
    parts.append(table(_COVERED, ((one.room.name, str(one.branches), _taken(one)) for one in found)))
    survivors = [trial.where for one in found for trial in one.of("survived")]
    parts += ["Survivors:\n\n" + "\n".join(survivors)] if survivors else []
    missed = [f"mutants of {one.room.name}: {one.percent:.0f} %" for one in found if one.percent < LEAST_PERCENT]
    missed += [f"branches of {one.room.name}: {', '.join(one.missing)}" for one in found if one.missing]
    return Report("\n\n".join(parts), missed)


def _row(found: Found) -> tuple[str, ...]:
    by_time = len(found.of("killed by time"))
    killed = by_time + len(found.of("killed"))
    counts = (found.mutants, len(found.trials), killed, by_time, len(found.of("equivalent")), len(found.of("survived")))
    return (found.room.name, *map(str, counts), f"{found.percent:.1f} %")


def _taken(found: Found) -> str:
    return f"{100 * (found.branches - len(found.missing)) / max(1, found.branches):.1f} %"


def _room(room: Room, plan: Plan) -> Found:
    listed = _output("-m", "tests.proof.mutation.mutants", *room.files)
    mutants: list[dict[str, Any]] = json.loads(listed)
    random.Random(plan.seed).shuffle(mutants)
    chosen = mutants[: MOST // 6 if plan.quick else MOST]
    note(f"mutation: {room.name}, {len(chosen)} of {len(mutants)} mutants")
    trials = [_explained(trial) for trial in _trials(room, chosen)]
    for trial in trials:
        if trial.outcome == "survived":
            note(trial.where)
    return Found(room, len(mutants), trials, *_branches(room))


def _trials(room: Room, mutants: Sequence[dict[str, Any]]) -> Iterable[Trial]:
    """Try mutants side by side; those that change nothing are left out."""
    with ThreadPoolExecutor(WORKERS) as pool, _wards(room) as wards:

        def tried(mutant: dict[str, Any]) -> Trial | None:
            ward = wards.get()
            try:
                answer = _answer(ward, mutant)
            finally:
                wards.put(ward)
            return Trial(mutant["file"], *answer) if answer else None

        yield from (trial for trial in pool.map(tried, mutants) if trial)


@contextmanager
def _wards(room: Room) -> Iterator[Queue[subprocess.Popen[str]]]:
    """Give processes that try mutants."""
    command = [sys.executable, "-m", "tests.proof.mutation.ward", *room.tests]
    wards: Queue[subprocess.Popen[str]] = Queue()
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=_ENVIRON, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(WORKERS)
    ]
    for process in processes:
        wards.put(process)
    try:
        yield wards
    finally:
        for process in processes:
            process.communicate()


def _answer(ward: subprocess.Popen[str], mutant: dict[str, Any]) -> list[Any] | None:
    assert ward.stdin
    assert ward.stdout
    ward.stdin.write(json.dumps(mutant) + "\n")
    ward.stdin.flush()
    line = ward.stdout.readline()
    assert line, f"the process that tries mutants has ended at {mutant}"
    answer: list[Any] | None = json.loads(line)
    return answer


def _explained(trial: Trial) -> Trial:
    """Return the trial as equivalent if it is known why no test can notice it."""
    known = {(one["file"], one["before"], one["after"]) for one in json.loads(KNOWN.read_text(encoding="utf-8"))}
    if trial.outcome == "survived" and (trial.file, trial.before, trial.after) in known:
        return Trial(trial.file, "equivalent", trial.line, trial.before, trial.after)
    return trial


def _branches(room: Room) -> tuple[int, list[str]]:
    """Return how many branches a room has, and which of them its tests don't take."""
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-mutation-") as folder:
        data, file = f"--data-file={folder}/data", Path(folder, "report.json")
        include = f"--include={','.join(room.files)}"
        pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *room.tests)
        _output("-m", "coverage", "run", data, "--branch", include, *pytest)
        _output("-m", "coverage", "json", data, include, "-o", str(file))
        found = json.loads(file.read_text(encoding="utf-8"))
    missing = [
        f"{name}: {start} → {end}" for name, told in found["files"].items() for start, end in told["missing_branches"]
    ]
    return int(found["totals"]["num_branches"]), missing


def _output(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=_ENVIRON, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
