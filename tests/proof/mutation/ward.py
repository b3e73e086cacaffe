"""``python -m tests.proof.mutation.ward REACH TEST…``: try mutants, one a line of standard input.

A mutant's tests are run in a fork of this process, in which all that is not ours has been imported already: most of the
time that a mutant takes otherwise. Within the fork, the mutated module is imported from the mutant's source, and only
those tests are run that come to what is changed, as REACH, a file that ``reach`` has written, tells.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from .mutants import Change, Mutant, change
from .reach import QUICKLY
from .rooms import LEAST, Reach

_OURS = ("comfy_supervisor", "tests")
_STAYS = "tests.proof"


class _Mutated(importlib.machinery.SourceFileLoader):
    """Loads a module from a source of ours."""

    source = ""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the module that a mutant changes."""

    def __init__(self, file: Path, name: str, source: str) -> None:
        self.name, self.loader = name, _Mutated(name, str(file))
        self.loader.source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.loader.path, loader=self.loader)


class _Chosen:
    """Has pytest run only some tests, the quickest first."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self.seconds = seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self.seconds]
        items[:] = sorted(chosen, key=lambda item: self.seconds[item.nodeid])


def main(reached: str, tests: Sequence[str]) -> None:
    """Answer each line with what came of its mutant: ``[outcome, line, before, after]``."""
    answers = os.fdopen(os.dup(1), "w")
    _quiet()
    reach = Reach(**json.loads(Path(reached).read_text(encoding="utf-8")))
    assert pytest.main([*QUICKLY, "--collect-only", *tests]) == 0, tests
    for name in [name for name in sys.modules if name.startswith(_OURS) and not name.startswith(_STAYS)]:
        del sys.modules[name]
    for line in sys.stdin:
        mutant = Mutant(**json.loads(line))
        made = change(mutant)
        answer = (_outcome(mutant, made, reach), made.line, made.before, made.after) if made else None
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _quiet() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)


def _outcome(mutant: Mutant, made: Change, reach: Reach) -> str:
    """Run the tests in a fork: ``killed``, ``killed by time`` or ``survived``."""
    seconds = reach.tests(mutant.file, made.line)
    if not seconds:
        return "survived"
    child = os.fork()
    if not child:
        os.setsid()
        os.dup2(1, 2)
        os._exit(_tried(mutant, made, seconds))
    end = time.monotonic() + LEAST + 5 * sum(seconds.values())
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return "killed" if os.waitstatus_to_exitcode(status) else "survived"
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "killed by time"


def _tried(mutant: Mutant, made: Change, seconds: Mapping[str, float]) -> int:
    name = mutant.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    sys.meta_path.insert(0, _Finder(Path(mutant.file).resolve(), name, made.source))
    files = dict.fromkeys(test.partition("::")[0] for test in seconds)
    try:
        return int(pytest.main([*QUICKLY, *files], [_Chosen(seconds)]))
    except BaseException:  # noqa: BLE001  # whatever a mutant raises has been noticed
        return 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
