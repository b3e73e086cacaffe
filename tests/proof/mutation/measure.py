"""How many of the mutants the rooms' own quick tests notice, and whether these tests reach every branch."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Any

from tests.bench.report import Report, note, table, versions
from tests.proof.plan import Plan

from .rooms import LEAST, REACHED, ROOMS, ROOT, Reach, Room

MOST = 240
"""Mutants of a room that are tried, drawn by the seed where there are more."""
WORKERS = 2
LEAST_PERCENT = 90.0
KNOWN = Path(__file__).with_name("survivors.json")
"""Why mutants survive, by file and line, before and after; ``equivalent`` are those that no test can notice."""
_READ = {".py", ".json", ".jsonl"}
"""How the names of those files end, in the tests' folders, that tests are or read."""
_UNSAID = "**it is not said why**"
_ENVIRON = {**os.environ, "CI": "true"}  # Hypothesis draws the same in each run
Known = Mapping[tuple[str, str, str], Mapping[str, Any]]
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
`or`, a decorator gone. Then those of the room's own quick tests that come to what is changed are run until one fails.
At most {MOST} mutants a room are tried, drawn by the seed; left out is what only changes an annotation, which nothing
evaluates, whether arguments may be given by name, and `is` for `==` or back, which are the same between members of an
enumeration. A mutant is killed by time where the tests take {LEAST:g} s and five times as long as without it.
Equivalent are those of which [tests/proof/mutation/survivors.json](../tests/proof/mutation/survivors.json) says why no
test can notice them. What was found of a room stands until its code or its tests change. At least {LEAST_PERCENT:g} %
of the others have to be killed, and the tests have to take every branch."""


@dataclass(frozen=True)
class Trial:
    """What came of one mutant."""

    file: str
    outcome: str
    line: int
    before: str
    after: str
    reason: str = ""
    """Why it survives; empty: it does not, or nobody has said."""

    @property
    def shown(self) -> str:
        """Where it was, what it changed, and why it survives."""
        name = self.file.removeprefix("comfy_supervisor/")
        return f"- `{name}:{self.line}`: `{self.before}` → `{self.after}`: {self.reason or _UNSAID}"


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
    tried = [_kept(room, plan) or _room(room, plan) for room in ROOMS]
    known = _known()  # only now: whoever waits may have said why meanwhile
    found = [replace(one, trials=[_explained(trial, known) for trial in one.trials]) for one in tried]
    parts = [f"{_HOW}\n\n{versions('cosmic-ray', 'coverage', 'pytest')}:", table(_HEADER, map(_row, found))]
    parts.append(table(_COVERED, ((one.room.name, str(one.branches), _taken(one)) for one in found)))
    parts += [*_listed("Survivors", found, "survived"), *_listed("Equivalent", found, "equivalent")]
    missed = [f"mutants of {one.room.name}: {one.percent:.0f} %" for one in found if one.percent < LEAST_PERCENT]
    missed += [f"branches of {one.room.name}: {', '.join(one.missing)}" for one in found if one.missing]
    return Report("\n\n".join(parts), missed)


def _listed(title: str, found: Iterable[Found], outcome: str) -> list[str]:
    shown = sorted(trial.shown for one in found for trial in one.of(outcome))
    return ["\n".join([f"{title}:\n", *shown])] if shown else []


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
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-mutation-") as folder:
        _output("-m", "tests.proof.mutation.reach", folder, *room.files, "--", *room.tests)
        reach = Reach(**json.loads(Path(folder, REACHED).read_text(encoding="utf-8")))
        trials = list(_noted(_trials(room, folder, chosen)))
    found = Found(room, len(mutants), trials, reach.branches, reach.missing)
    _keep(found, plan)
    return found


def _keep(found: Found, plan: Plan) -> None:
    file = _file(found.room, plan)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")


def _kept(room: Room, plan: Plan) -> Found | None:
    """Return what was found of a room before, with the same code and tests; None: nothing was."""
    file = _file(room, plan)
    if not file.exists():
        return None
    kept = json.loads(file.read_text(encoding="utf-8"))
    return Found(**{**kept, "room": room, "trials": [Trial(**trial) for trial in kept["trials"]]})


def _file(room: Room, plan: Plan) -> Path:
    """Return where it is kept what was found of a room, by all that this depends on: more rather than less."""
    folders = dict.fromkeys(ROOT / Path(test).parent for test in room.tests)
    made = [*Path(__file__).parent.glob("*.py"), *(ROOT / each for each in room.files), *(ROOT / "tests").glob("*.py")]
    made += [file for folder in folders for file in sorted(folder.rglob("*")) if file.suffix in _READ]
    tools = (sys.version, versions("cosmic-ray", "hypothesis", "pytest"))
    contents = [each.read_bytes() for each in dict.fromkeys(made)]
    digest = hashlib.sha256(repr((plan.seed, plan.quick, tools, contents)).encode()).hexdigest()
    return ROOT / "build" / "proof" / "mutation" / f"{digest[:16]}.json"


def _noted(trials: Iterable[Trial]) -> Iterator[Trial]:
    """Tell at once which mutants survive for no known reason."""
    known = _known()
    for trial in trials:
        explained = _explained(trial, known)
        if explained.outcome == "survived" and not explained.reason:
            note(trial.shown)
        yield trial


def _trials(room: Room, folder: str, mutants: Sequence[dict[str, Any]]) -> Iterable[Trial]:
    """Try mutants side by side; those that change nothing are left out."""
    with ThreadPoolExecutor(WORKERS) as pool, _wards(room, folder) as wards:

        def tried(mutant: dict[str, Any]) -> Trial | None:
            ward = wards.get()
            try:
                answer = _answer(ward, mutant)
            finally:
                wards.put(ward)
            return Trial(mutant["file"], *answer) if answer else None

        yield from (trial for trial in pool.map(tried, mutants) if trial)


@contextmanager
def _wards(room: Room, folder: str) -> Iterator[Queue[subprocess.Popen[str]]]:
    """Give processes that try mutants."""
    command = [sys.executable, "-m", "tests.proof.mutation.ward", folder, *room.tests]
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


def _explained(trial: Trial, known: Known) -> Trial:
    """Return a trial that survived with the reason, if it is known, and as equivalent if no test can notice it."""
    if trial.outcome != "survived":
        return trial
    said = known.get((trial.file, trial.before, trial.after), {"reason": "", "equivalent": False})
    return replace(trial, reason=said["reason"], outcome="equivalent" if said["equivalent"] else "survived")


def _known() -> Known:
    entries = json.loads(KNOWN.read_text(encoding="utf-8"))
    return {(one["file"], one["before"], after): one for one in entries for after in one["after"]}


def _output(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=_ENVIRON, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
