"""Which tests try a mutant, and what is said of those that survive."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.proof.mutation import measure
from tests.proof.mutation.measure import Found, Trial
from tests.proof.mutation.rooms import ROOMS, ROOT, Reach, Room
from tests.proof.mutation.swap import swapped
from tests.proof.plan import Plan

REACH = Reach({"a": 0.1, "b": 0.2, "c": 0.3}, {"file.py": [(12, 13, ["a"]), (10, 15, ["a", "b"]), (20, 21, [])]}, 4, [])


@pytest.mark.parametrize(
    ("line", "tests"),
    [(9, "abc"), (10, "ab"), (11, "ab"), (12, "a"), (13, "a"), (14, "ab"), (15, "ab"), (16, "abc"), (20, "")],
)
def test_a_mutant_is_tried_by_those_who_come_into_its_function(line: int, tests: str) -> None:
    """The innermost one; what is evaluated while a module is imported is tried by all."""
    assert REACH.tests("file.py", line) == {test: REACH.seconds[test] for test in tests}
    assert REACH.is_within("file.py", line) is (tests != "abc")


SOURCE = """
import contextlib
def plain(x):
    def within():
        return x > 0
    return within()
class Some:
    @property
    def whole(self): return self.plain() > 0
    @property
    def more(self):
        return 0 > 1
    @staticmethod
    def plain():
        return 1
    @contextlib.contextmanager
    def lent(self):
        yield 0 > 1
LAST = 1 > 0
"""


def test_a_function_is_given_other_code_wherever_it_was_imported(tmp_path: Path) -> None:
    module = ModuleType("module")
    module.__file__ = str(tmp_path / "module.py")
    exec(SOURCE, vars(module))
    plain, some = module.plain, module.Some()
    changed = SOURCE.replace(">", "<")
    for line in (5, 12, 18):
        swapped(module, changed, line)()
    with some.lent() as lent:
        assert (plain(1), some.more, lent, some.whole, module.LAST) == (False, True, True, True, True)
    for line in (2, 19):
        with pytest.raises(LookupError):
            swapped(module, changed, line)
    with pytest.raises(LookupError, match="is another"):
        swapped(module, "\n" + changed, 6)


@pytest.mark.parametrize("equivalent", [True, False])
def test_why_a_mutant_survives_is_said(equivalent: bool) -> None:
    known = {("file.py", "x > 0", "x != 0"): {"reason": "a count", "equivalent": equivalent}}
    survived = Trial("file.py", "survived", 7, "x > 0", "x != 0")
    explained = measure._explained(survived, known)
    assert explained.outcome == ("equivalent" if equivalent else "survived")
    assert explained.shown == "- `file.py:7`: `x > 0` → `x != 0`: a count"
    other = measure._explained(Trial("file.py", "survived", 7, "x > 0", "x >= 0"), known)
    assert (other.outcome, other.shown[-22:]) == ("survived", "**it is not said why**")
    killed = Trial("file.py", "killed", 7, "x > 0", "x != 0")
    assert measure._explained(killed, known) == killed


def test_what_was_found_of_a_room_stands_until_its_code_or_its_tests_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room("room", ["file.py"], ["tests/room/test_file.py"])
    names = (
        "file.py",
        "tests/support.py",
        "tests/room/test_file.py",
        "tests/room/world.py",
        "tests/room/data.json",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    assert measure._kept(room, Plan()) is None
    found = Found(room, 3, [Trial("file.py", "survived", 7, "x > 0", "x != 0")], 2, ["file.py: 1 → 2"])
    measure._keep(found, Plan())
    assert measure._kept(room, Plan()) == found
    assert measure._kept(room, Plan(seed=2)) is None
    for name in names:
        (tmp_path / name).write_text("changed")
        assert measure._kept(room, Plan()) is None
        (tmp_path / name).write_text("")
        assert measure._kept(room, Plan()) == found


def test_reasons_are_of_lines_that_are_there() -> None:
    """Where a line was changed since, its mutants are others; and a reason is of one line, not of all that look so."""
    files = {file for room in ROOMS for file in room.files}
    for one in json.loads(measure.KNOWN.read_text(encoding="utf-8")):
        assert one["file"] in files
        lines = (ROOT / one["file"]).read_text(encoding="utf-8").splitlines()
        assert [" ".join(line.split()) for line in lines].count(one["before"]) == 1, one
        assert one["after"], one
        assert one["reason"], one
