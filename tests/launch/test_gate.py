"""Waiting while something outside is wrong."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_supervisor.launch import gate, holds
from comfy_supervisor.launch.gate import Gate, StoppedError
from comfy_supervisor.launch.holds import Hold
from tests.support import wait_until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_SLOW_POLL", 0.01)


@pytest.fixture(autouse=True)
def mask() -> Iterator[None]:
    """Let the tests be interrupted again after a wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_each_trouble_is_said_once_and_held_until_it_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    troubles = iter(["port taken", "port taken", "port taken by another", ""])
    texts: list[str] = []
    causes: list[str] = []

    def trouble() -> tuple[str, str]:
        hold = holds.read(str(tmp_path))
        texts.append(hold.text if hold else "")
        causes.append(hold.cause if hold else "")
        return next(troubles), "port_in_use"

    Gate(str(tmp_path), "comfyui", supervised=False).wait_while(trouble, "configuration")
    assert texts == ["", "port taken", "port taken", "port taken by another"]
    assert causes == ["", *["port_in_use"] * 3]
    assert holds.read(str(tmp_path)) is None
    said = [line.partition(" comfy-supervisor: ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "not started: port taken; starts by itself when that has changed",
        "not started: port taken by another; starts by itself when that has changed",
        "what was in the way is gone",
    ]


def test_a_hold_that_somebody_cleared_is_put_up_again(tmp_path: Path) -> None:
    troubles = iter(["taken", "taken", "taken", ""])

    def trouble() -> tuple[str, str]:
        text = next(troubles)
        if text:
            holds.clear(str(tmp_path))
        else:
            assert holds.read(str(tmp_path))
        return text, ""

    Gate(str(tmp_path), "comfyui", supervised=False).wait_while(trouble, "configuration")


def test_the_hold_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    other = Hold("maintenance", "new fans", time.time())
    holds.write(str(tmp_path), other)
    troubles = iter(["taken", "taken", "taken by another", ""])
    Gate(str(tmp_path), "comfyui", supervised=False).wait_while(lambda: (next(troubles), ""), "configuration")
    assert holds.read(str(tmp_path)) == other


def test_a_hold_of_somebody_else_survives_a_backoff(tmp_path: Path) -> None:
    other = Hold("gave_up", "too many restarts", time.time())
    holds.write(str(tmp_path), other)
    assert Gate(str(tmp_path), "comfyui", supervised=False).back_off("backoff", "2 short lives", 0.1) is True
    assert holds.read(str(tmp_path)) == other


def test_a_backoff_whose_hold_is_replaced_is_not_lifted(tmp_path: Path) -> None:
    """The one who replaces it will be waited for, and the count of short lives stays."""
    barrier = Gate(str(tmp_path), "comfyui", supervised=False)
    waiting = threading.Thread(target=lambda: answers.append(barrier.back_off("backoff", "2 short lives", 1000)))
    answers: list[bool] = []
    waiting.start()
    wait_until(lambda: holds.read(str(tmp_path)))
    holds.write(str(tmp_path), Hold("gave_up", "too many restarts", time.time()))
    waiting.join(30)
    assert answers == [True]


def test_a_hold_that_cannot_be_written_is_kept_in_mind_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "none")
    began = time.monotonic()
    barrier = Gate(run, "comfyui", supervised=False)
    assert barrier.back_off("backoff", "2 short lives", 0.3) is True
    assert barrier.back_off("backoff", "3 short lives", 0.3) is True
    assert time.monotonic() - began >= 0.6
    assert capsys.readouterr().err.count("can't be written") == 1


def test_what_is_said_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Gate(str(tmp_path), "comfyui", supervised=False).say("first\nsecond\r\n  third")
    assert capsys.readouterr().err.endswith(" comfy-supervisor: first second third\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_between_two_pauses_is_heard_at_the_next(number: int, tmp_path: Path) -> None:
    """Not where it comes: there it might meet code that loses exceptions, or leave something half done."""
    done: list[str] = []

    def trouble() -> tuple[str, str]:
        if done:
            signal.pthread_kill(threading.get_ident(), number)
        done.append("looked")
        return "taken", ""

    with pytest.raises(StoppedError):
        Gate(str(tmp_path), "comfyui", supervised=False).wait_while(trouble, "configuration")
    assert done == ["looked"] * 2
