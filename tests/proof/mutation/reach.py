"""``python -m tests.proof.mutation.reach FOLDER FILE… -- TEST…``: which of a room's tests reach which of its functions.

A mutant within a function is tried only by the tests that came into this function, the quickest first: the others can't
notice it. What is evaluated when a module is imported is tried by all.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import coverage
import pytest

from .rooms import REACHED, ROOT, Reach

_IMPORT = ""
"""coverage's name for what was reached by no test: while modules were imported."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LEFT_OUT = ("cacheprovider", "faulthandler", "threadexception", "unraisableexception", "xdist")
QUICKLY = ("-q", "-x", "--assert=plain", "--tb=no", *(f"-pno:{plugin}" for plugin in _LEFT_OUT))
"""How pytest is run: until one fails, and without what needs time."""


class _Contexts:
    """Tells coverage which test is run, and takes its time."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, None, None]:
        self.measured.switch_context(item.nodeid)
        began = time.monotonic()
        yield
        self.seconds[item.nodeid] = time.monotonic() - began
        self.measured.switch_context(_IMPORT)


def reach(files: Sequence[str], tests: Sequence[str]) -> Reach:
    """Run the tests, which have to pass, in this process, which must not have imported the files yet."""
    measured = coverage.Coverage(data_file=None, branch=True, include=list(files), config_file=False)
    contexts = _Contexts(measured)
    measured.start()
    assert pytest.main([*QUICKLY, *tests], [contexts]) == 0, f"they fail without a mutant: {tests}"
    measured.stop()
    functions = {file: list(_functions(file, measured)) for file in files}
    return Reach(contexts.seconds, functions, *_branches(measured))


def _functions(file: str, measured: coverage.Coverage) -> Iterator[tuple[int, int, list[str]]]:
    """Tell who comes into each function; one on a single line, with what is evaluated for it, is left out."""
    reached = measured.get_data().contexts_by_lineno(str(ROOT / file))
    nodes = (node for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))) if isinstance(node, _FUNCTIONS))
    imported: list[range] = []
    found: list[tuple[int, int, list[str]]] = []
    for node in sorted(nodes, key=lambda node: node.lineno):
        lines = range(node.body[0].lineno, (node.end_lineno or 0) + 1)
        tests = {test for line in lines for test in reached.get(line, ())}
        if _IMPORT in tests:
            imported.append(lines)
        elif lines[0] > node.lineno and not any(lines[0] in others for others in imported):
            found.append((lines[0], lines[-1], sorted(tests)))
    return reversed(found)


def _branches(measured: coverage.Coverage) -> tuple[int, list[str]]:
    """Return how many branches there are, and which of them no test takes."""
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-mutation-") as folder:
        file = Path(folder, "report.json")
        measured.json_report(outfile=str(file))
        found = json.loads(file.read_text(encoding="utf-8"))
    missing = [
        f"{name}: {start} → {end}" for name, told in found["files"].items() for start, end in told["missing_branches"]
    ]
    return int(found["totals"]["num_branches"]), missing


def _main(arguments: Sequence[str]) -> None:
    folder, *rest = arguments
    files, tests = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    Path(folder, REACHED).write_text(json.dumps(asdict(reach(files, tests))), encoding="utf-8")


if __name__ == "__main__":
    _main(sys.argv[1:])
