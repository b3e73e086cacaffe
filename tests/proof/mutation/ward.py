"""``python -m tests.proof.mutation.ward TEST…``: try mutants, one a line of standard input.

A mutant's tests are run in a fork of this process, in which all that is not ours has been imported already: most of the
time that a mutant takes otherwise. Within the fork, the mutated module is imported from the mutant's source.
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
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from .mutants import Change, Mutant, change

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


def main(tests: Sequence[str]) -> None:
    """Answer each line with what came of its mutant: ``[outcome, line, before, after]``."""
    answers = os.fdopen(os.dup(1), "w")
    _quiet()
    assert _run(["--collect-only", *tests]) == 0, tests
    for name in [name for name in sys.modules if name.startswith(_OURS) and not name.startswith(_STAYS)]:
        del sys.modules[name]
    began = time.monotonic()
    assert _outcome(tests, None, 600.0) == "survived", f"the tests fail without a mutant: {tests}"
    limit = 10.0 + 5 * (time.monotonic() - began)
    for line in sys.stdin:
        mutant = Mutant(**json.loads(line))
        made = change(mutant)
        answer = (_outcome(tests, (mutant, made), limit), made.line, made.before, made.after) if made else None
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _quiet() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)


def _run(arguments: Sequence[str]) -> int:
    return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]))


def _outcome(tests: Sequence[str], mutated: tuple[Mutant, Change] | None, limit: float) -> str:
    """Run the tests in a fork: ``killed``, ``killed by time`` or ``survived``."""
    child = os.fork()
    if not child:
        os.setsid()
        os._exit(_tried(tests, mutated))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return "killed" if os.waitstatus_to_exitcode(status) else "survived"
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "killed by time"


def _tried(tests: Sequence[str], mutated: tuple[Mutant, Change] | None) -> int:
    if mutated:
        mutant, made = mutated
        name = mutant.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        sys.meta_path.insert(0, _Finder(Path(mutant.file).resolve(), name, made.source))
    try:
        return _run(tests)
    except BaseException:  # noqa: BLE001  # whatever a mutant raises has been noticed
        return 1


if __name__ == "__main__":
    main(sys.argv[1:])
