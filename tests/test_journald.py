"""What systemd's journal is handed: lines as a terminal would show them. tests/service asks a real journal."""

from __future__ import annotations

import os
import select
import threading
import uuid
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
        ([b"a" * journald.LONGEST, b"bc", b"d\n"], [b"a" * journald.LONGEST + b"\n", b"bcd\n"]),
        ([b"a" * (journald.LONGEST + 1) + b"\n"], [b"a" * journald.LONGEST + b"\n", b"a\n"]),
    ],
)
def test_lines_are_whole_and_can_be_read(chunks: list[bytes], shown: list[bytes]) -> None:
    assert list(journald.lines(chunks)) == shown


class Journal:
    """Gets what is handed on by one program, and can be read line by line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reading, self._writing = os.pipe()
        self._lines = os.fdopen(reading)
        self._name = str(uuid.uuid4())
        monkeypatch.setattr(journald, "stream", self._stream)

    def _stream(self, name: str) -> int:
        """Take no lines of what an earlier test has left running."""
        if name != self._name:
            raise OSError(2, "gone")
        return os.dup(self._writing)

    def follow(self, file: Path) -> None:
        """Begin to hand on a file, as a program that was started anew does."""
        threading.Thread(target=journald.hand_on, args=(self._name, file), daemon=True).start()

    def told(self, count: int) -> list[str]:
        """Return the next lines, once there are so many."""
        return [self._lines.readline().rstrip() for _ in range(count)]


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    return Journal(monkeypatch)


class TestBeginning:
    """ComfyUI may have written before anybody looks."""

    def test_what_is_there_already_is_handed_on(self, tmp_path: Path, journal: Journal) -> None:
        file = tmp_path / "a.log"
        file.write_text("one\ntwo\n")
        journal.follow(file)
        assert journal.told(2) == ["one", "two"]

    def test_of_a_long_log_only_the_end(self, tmp_path: Path, journal: Journal) -> None:
        file = tmp_path / "a.log"
        file.write_text("".join(f"{number:07d}\n" for number in range(2 * journald.FIRST // 8)))
        journal.follow(file)
        assert journal.told(1) == [f"{journald.FIRST // 8 + 1:07d}"]

    def test_what_was_written_while_nobody_looked_is_handed_on_and_nothing_twice(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before it was rotated, and since."""
        file = tmp_path / "a.log"
        file.write_text("one\ntw")
        noted = tmp_path / ".a.log.journal"
        first = Journal(monkeypatch)
        first.follow(file)
        assert first.told(1) == ["one"]
        wait_until(noted.exists)
        file.rename(copy := tmp_path / "a")  # the first one goes on with what is not there
        (tmp_path / "a.log.1").hardlink_to(copy)
        with copy.open("a") as rotated:
            rotated.write("o\n")
        file.write_text("three\n")
        kept = noted.read_text()
        second = Journal(monkeypatch)
        noted.write_text(kept)
        second.follow(file)
        assert second.told(2) == ["two", "three"]

    @pytest.mark.parametrize("note", ["", "[]", '{"inode": "x", "offset": 1}', '{"inode": 1, "offset": -1}', "\0"])
    def test_a_note_that_makes_no_sense_is_as_good_as_none(self, note: str, tmp_path: Path, journal: Journal) -> None:
        file = tmp_path / "a.log"
        file.write_text("one\n")
        (tmp_path / ".a.log.journal").write_text(note)
        journal.follow(file)
        assert journal.told(1) == ["one"]


def test_a_journal_that_goes_away_misses_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is closed by its reader, and there is none for a while."""
    file, ends = tmp_path / "a.log", [os.pipe(), os.pipe()]
    answers: list[int | OSError] = [ends[0][1], OSError(2, "gone"), ends[1][1]]

    def stream(name: str) -> int:
        answer = answers.pop(0) if name == "this one" else OSError(2, "gone")
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(journald, "stream", stream)
    monkeypatch.setattr(journald, "RETRY", 0.01)
    threading.Thread(target=journald.hand_on, args=("this one", file), daemon=True).start()

    def arrives(line: bytes, end: int) -> bool:
        """Write a line; tell whether something comes of it."""
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
