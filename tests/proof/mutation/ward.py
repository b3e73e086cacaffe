"""``python -m tests.proof.mutation.ward FOLDER TEST…``: try mutants, one a line of standard input.

FOLDER is for what the tests write, and has what ``reach`` has found: only tests that come to what is changed are run,
and first those that have noticed other mutants. Each mutant has a fork of its own: of a process that has collected the
tests, where the changed function gets its code; or, where something is changed that is evaluated when the module is
imported, of one that has imported all but what is ours.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import pytest

from .anew import import_from
from .mutants import Mutant, change
from .reach import QUICKLY
from .rooms import LEAST, REACHED, Reach
from .swap import swapped

_OURS = ("comfy_supervisor", "tests")
_STAYS = "tests.proof"


@dataclass(frozen=True)
class Trial:
    """What is to be done for one mutant."""

    file: str
    line: int
    source: str
    tests: Sequence[str]
    """In their order."""
    limit: float
    """Seconds after which it is killed by time."""

    @property
    def name(self) -> str:
        """The module's."""
        return self.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class _Chosen:
    """Has pytest run a trial's tests in their order, and hears which one fails."""

    def __init__(self, trial: Trial) -> None:
        self.places = {test: place for place, test in enumerate(trial.tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self.places]
        items[:] = sorted(chosen, key=lambda item: self.places[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = report.nodeid


class _Collected:
    """Has pytest, when all tests are collected, wait for trials instead of running them."""

    def __init__(self, asked: TextIO, answers: TextIO) -> None:
        self.asked, self.answers = asked, answers

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        for line in self.asked:
            trial = Trial(**json.loads(line))
            swap = swapped(sys.modules[trial.name], trial.source, trial.line)
            chosen = [items[test] for test in trial.tests]
            _say(self.answers, _forked(lambda: _swapped(session, swap, chosen), trial.limit))  # noqa: B023  # at once
        return True


def main(folder: str, tests: Sequence[str]) -> None:
    """Answer each line with what came of its mutant: ``[outcome, line, before, after]``."""
    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    _quiet()
    reach = Reach(**json.loads(Path(folder, REACHED).read_text(encoding="utf-8")))
    assert pytest.main([*QUICKLY, "--collect-only", *tests]) == 0, tests
    for name in [name for name in sys.modules if name.startswith(_OURS) and not name.startswith(_STAYS)]:
        del sys.modules[name]
    within = _collected(folder, tests)
    kills: Counter[str] = Counter()
    for line in asked:
        mutant = Mutant(**json.loads(line))
        made = change(mutant)
        if made is None:
            _say(answers, None)
            continue
        seconds = reach.tests(mutant.file, made.line)
        order = sorted(seconds, key=lambda test: (-kills[test], seconds[test]))
        trial = Trial(mutant.file, made.line, made.source, order, LEAST + 5 * sum(seconds.values()))
        if not order:
            outcome, killer = "survived", ""
        elif reach.is_within(mutant.file, made.line):
            outcome, killer = within(trial)
        else:
            outcome, killer = _forked(lambda: _imported(folder, trial), trial.limit)  # noqa: B023  # at once
        kills[killer] += 1
        _say(answers, (outcome, made.line, made.before, made.after))


def _quiet() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)


def _say(pipe: TextIO, what: object) -> None:
    pipe.write(json.dumps(what) + "\n")
    pipe.flush()


def _collected(folder: str, tests: Sequence[str]) -> Callable[[Trial], tuple[str, str]]:
    """Begin a process that has collected the tests; return what has it try mutants of what is within functions."""
    (asked, ask), (told, tell) = os.pipe(), os.pipe()
    if not os.fork():
        os.close(ask)
        plugin = _Collected(os.fdopen(asked), os.fdopen(tell, "w"))
        os._exit(int(pytest.main([*QUICKLY, f"--basetemp={folder}/{os.getpid()}", *tests], [plugin])))
    os.close(asked)
    os.close(tell)
    trials, answers = os.fdopen(ask, "w"), os.fdopen(told)

    def tried(trial: Trial) -> tuple[str, str]:
        _say(trials, asdict(trial))
        outcome, killer = json.loads(answers.readline())
        return outcome, killer

    return tried


def _forked(run: Callable[[], str | None], limit: float) -> tuple[str, str]:
    """Run tests in a fork; return ``killed``, ``killed by time`` or ``survived``, and which test has failed."""
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os._exit(_exit_code(run, tell))
    os.close(tell)
    outcome = _waited(child, limit)
    os.set_blocking(told, False)  # whoever is left of the tests may hold its other end
    try:
        return outcome, os.read(told, 65536).decode()
    except BlockingIOError:
        return outcome, ""
    finally:
        os.close(told)


def _exit_code(run: Callable[[], str | None], tell: int) -> int:
    try:
        failed = run()
    except BaseException:  # noqa: BLE001  # whatever a mutant raises has been noticed
        return 1
    os.write(tell, (failed or "").encode())
    return int(failed is not None)


def _waited(child: int, limit: float) -> str:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return "killed" if os.waitstatus_to_exitcode(status) else "survived"
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "killed by time"


def _swapped(session: pytest.Session, swap: Callable[[], None], chosen: Sequence[pytest.Item]) -> str | None:
    """Swap a function, and run tests; return the one that fails, None: none does."""
    swap()
    for item, following in zip(chosen, [*chosen[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return item.nodeid
    return None


def _imported(folder: str, trial: Trial) -> str | None:
    """Import the mutated module, and run the tests; return the one that fails, empty: all do; None: none does."""
    import_from(trial.source, trial.name, trial.file)
    chosen = _Chosen(trial)
    files = dict.fromkeys(test.partition("::")[0] for test in trial.tests)
    code = pytest.main([*QUICKLY, f"--basetemp={folder}/{os.getpid()}", *files], [chosen])
    return chosen.failed if code else None


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
