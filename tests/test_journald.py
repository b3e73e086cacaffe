"""What systemd's journal is handed: lines as a terminal would show them. tests/service asks a real journal."""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path

import pytest

from comfy_supervisor import journald
from tests.support import wait_until


@pytest.mark.parametrize(
    ("chunks", "shown"),
    [
        ([b"one\ntw", b"o\n"], [b"one\n", b"two\n"]),
        ([b"\r 0%|   |\r 50%|## |", b"\r100%|###|\nnext\n"], [b"100%|###|\n", b"next\n"]),
        ([b"windows\r\n\n \n"], [b"windows\n"]),
        ([b"bell\x07 and\ttab\n"], [b"bell and\ttab\n"]),
        ([b"not yet whole"], []),
    ],
)
def test_lines_are_whole_and_can_be_read(chunks: list[bytes], shown: list[bytes]) -> None:
    assert list(journald.lines(chunks)) == shown


def test_a_journal_that_goes_away_misses_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is closed by its reader, and there is none for a while."""
    file, ends = tmp_path / "a.log", [os.pipe(), os.pipe()]
    answers: list[int | OSError] = [ends[0][1], OSError(2, "gone"), ends[1][1]]

    def stream(_: str) -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(journald, "stream", stream)
    monkeypatch.setattr(journald, "RETRY", 0.01)
    threading.Thread(target=journald.hand_on, args=("a", file), daemon=True).start()

    def arrives(line: bytes, end: int) -> bool:
        """Write a line; tell whether something comes of it. What was there before the first look is not handed on."""
        with file.open("ab") as log:
            log.write(line)
        told = select.poll()  # select() takes no descriptor above 1023
        told.register(end, select.POLLIN)
        return bool(told.poll(100))

    wait_until(lambda: arrives(b"first\n", ends[0][0]))
    assert os.read(ends[0][0], 6) == b"first\n"
    os.close(ends[0][0])
    wait_until(lambda: arrives(b"\x1b[32msecond\x1b[0m\n", ends[1][0]))
    with os.fdopen(ends[1][0]) as journal:
        said = [journal.readline()]
        while said[-1] == "first\n":
            said.append(journal.readline())
    assert said[-1] == "second\n"
