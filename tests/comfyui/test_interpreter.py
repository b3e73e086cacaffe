"""Asking another interpreter: an answer, or the reason why there is none, within the deadline."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor.comfyui.interpreter import NoAnswerError, ask
from tests.support import answering, is_running, make_program, wait_until

PYTHON = Path(sys.executable)
ECHO = "import json, sys; json.dump({'heard': json.load(sys.stdin)}, open(int(sys.argv[1]), 'w'))"


@dataclass(frozen=True)
class Heard:
    """What ``ECHO`` answers."""

    heard: Any


@dataclass(frozen=True)
class Counted:
    """What another script might."""

    names: tuple[str, ...]
    many: int = 0


def script(folder: Path, text: str = ECHO) -> Path:
    path = folder / "script.py"
    path.write_text(text)
    return path


def reason(python: Path, path: Path, deadline: float = 60.0) -> str:
    with pytest.raises(NoAnswerError) as caught:
        ask(python, path, None, Counted, deadline=deadline)
    return str(caught.value)


@pytest.mark.parametrize(
    "question", [None, {"a": ["ü ☃", "\udcff", "'\"\n"]}, "x" * 500_000], ids=["none", "signs", "long"]
)
def test_question_and_answer_arrive_whole(tmp_path: Path, question: object) -> None:
    assert ask(PYTHON, script(tmp_path), question, Heard, deadline=60) == Heard(question)


def test_environment_is_passed(tmp_path: Path) -> None:
    path = script(
        tmp_path, "import json, os, sys; json.dump({'heard': os.environ['WORD']}, open(int(sys.argv[1]), 'w'))"
    )
    assert ask(PYTHON, path, None, Heard, deadline=60, environment={"WORD": "ü"}) == Heard("ü")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Path.absolute, "cannot be started: No such file or directory"),
        (lambda path: path.mkdir(), "cannot be started: Permission denied"),
        (lambda path: path.write_text("#!/bin/sh\n"), "cannot be started: Permission denied"),
        (lambda path: make_program(path, "").write_bytes(b"\x7fELF rubbish"), "cannot be started: Exec format error"),
    ],
    ids=["missing", "folder", "not executable", "of another machine"],
)
def test_interpreter_that_cannot_be_started(tmp_path: Path, make, text: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "python")
    assert reason(tmp_path / "python", script(tmp_path)) == text


def test_traceback_is_told_by_its_last_line(tmp_path: Path) -> None:
    assert reason(PYTHON, script(tmp_path, "1 / 0")) == "ZeroDivisionError: division by zero"


def test_last_line_is_told_of_however_much(tmp_path: Path) -> None:
    path = script(tmp_path, "import sys; print('x ' * 200_000, file=sys.stderr); sys.exit('the end')")
    assert reason(PYTHON, path) == "the end"


def test_crash_is_told_by_its_signal(tmp_path: Path) -> None:
    path = script(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert reason(PYTHON, path) == "ended without an answer (exit status -11)"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("no JSON", "Expecting value: line 1 column 1 (char 0)"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
        ("[1]", "Counted: not an object"),
        ("{}", "names: missing"),
        ('{"names": "a"}', "names: not a list"),
        ('{"names": [7]}', "names.0: not a text"),
        ('{"names": [], "many": true}', "many: not a whole number"),
    ],
)
def test_an_answer_of_another_shape_is_none(tmp_path: Path, answer: str, why: str) -> None:
    """It comes from an interpreter that is not ours."""
    (tmp_path / "answer").write_text(answer)
    python = make_program(tmp_path / "python", f'for last; do :; done; cat "{tmp_path}/answer" >"/dev/fd/$last"')
    said = reason(python, script(tmp_path))
    assert said.startswith(f"answered with something other than what was asked for ({why}")
    assert "\n" not in said


def test_what_was_not_asked_for_is_passed_over(tmp_path: Path) -> None:
    python = answering(tmp_path / "python", '{"names": ["a"], "besides": {}}')
    assert ask(python, script(tmp_path), None, Counted, deadline=60) == Counted(("a",))


def test_endless_answer_is_cut_off(tmp_path: Path) -> None:
    path = script(tmp_path, "import os, sys\nwhile True: os.write(int(sys.argv[1]), b'x' * 65536)")
    assert reason(PYTHON, path) == "answered with more than could be an answer"


def test_endless_printing_meets_the_deadline(tmp_path: Path) -> None:
    path = script(tmp_path, "import os\nwhile True: os.write(1, b'x' * 4096); os.write(2, b'x' * 4096)")
    assert reason(PYTHON, path, 0.5) == "gave no answer within 0.5 s"


FAMILY = """
import subprocess, sys, time
child = subprocess.Popen(["sleep", "600"])
open({pids!r}, "w").write(f"{{child.pid}} ")
{then}
"""


@pytest.mark.parametrize(
    ("then", "deadline"),
    [("time.sleep(600)", 3), ("open(int(sys.argv[1]), 'w').write('{}'); time.sleep(600)", 60), ("sys.exit(1)", 60)],
    ids=["hangs", "hangs after its answer", "leaves it behind"],
)
def test_nothing_that_it_started_lives_on(tmp_path: Path, then: str, deadline: float) -> None:
    pids = tmp_path / "pids"
    path = script(tmp_path, FAMILY.format(pids=str(pids), then=then))
    with contextlib.suppress(NoAnswerError):
        ask(PYTHON, path, None, Heard, deadline=deadline)
    child = int(pids.read_text())
    wait_until(lambda: not is_running(child))
