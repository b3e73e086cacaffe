"""Each part has its own thread and its own trouble; together they have one deadline."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from comfy_supervisor.incidents import outside, process
from comfy_supervisor.incidents.parts import MOST_STUCK, Findings, MissingError, Parts
from tests.support import free_port, make_program, wait_until


def fails() -> None:
    raise MissingError("there is none")


def test_what_hangs_or_fails_is_said_and_the_rest_is_there() -> None:
    free = threading.Event()
    try:
        began = time.monotonic()
        found = Parts({"good": lambda: 1, "none": fails, "bug": lambda: 1 / 0, "hangs": free.wait}).gather(0.5)
        assert time.monotonic() - began < 5
        assert found.values == {"good": 1}
        assert found.missing == {
            "none": "there is none",
            "bug": "ZeroDivisionError: division by zero",
            "hangs": "not within 0.5 s",
        }
    finally:
        free.set()


def test_where_all_hangs_no_threads_pile_up() -> None:
    free = threading.Event()
    try:
        for _ in range(MOST_STUCK + 5):
            last = Parts({"hangs": free.wait}).gather(0.01)
        assert last.missing == {"hangs": "too many earlier questions still hang"}
        assert sum(thread.name == "part-hangs" for thread in threading.enumerate()) <= MOST_STUCK
    finally:
        free.set()
        wait_until(lambda: Parts({"again": lambda: 1}).gather(5).values)


def test_what_was_missing_is_not_once_it_is_found() -> None:
    found = Findings(missing={"journal": "late"})
    found.take(Findings({"journal": 1}, {"gpu": "none"}))
    assert (found.values, found.missing) == ({"journal": 1}, {"gpu": "none"})


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'Thread 1 (idle)'", ""),
        ("echo Error: Permission Denied >&2; exit 1", "Error: Permission Denied"),
        ("exec sleep 100", "not within"),
    ],
)
def test_py_spy_may_be_denied_or_hang(script: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(tmp_path / "py-spy", script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(outside, "SPY_DEADLINE", 0.5)
    if told:
        with pytest.raises(MissingError, match=told):
            outside.py_spy(1)
    else:
        assert outside.py_spy(1) == "Thread 1 (idle)\n"


def test_a_process_that_is_gone_tells_nothing() -> None:
    gone = 2**22 + 1
    for question in (process.tree, process.descriptors):
        with pytest.raises(MissingError):
            question(gone)
    assert (process.secrets(gone), process.command(gone)) == (frozenset(), [])


def test_the_log_is_cut_where_the_event_was(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("one\ntwo\n")
    mark = outside.mark(str(log))
    with log.open("ab") as more:
        more.write(b"three \xff\n")
    assert outside.log_until(str(log), mark, 100) == "one\ntwo\n"
    assert outside.log_until(str(log), mark, 6) == "two\n", "only whole lines"
    assert outside.log_since(str(log), mark, 100) == "three \\xff\n"
    log.rename(tmp_path / "x.log.1")
    log.write_text("anew\n")
    assert outside.log_since(str(log), mark, 100) == "anew\n", "rotated since"


def test_why_comfyui_says_nothing_is_told_in_words() -> None:
    with pytest.raises(MissingError, match=r"\Aconnection refused\Z"):
        outside.queue(f"http://127.0.0.1:{free_port()}")
