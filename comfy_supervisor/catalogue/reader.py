"""A log, read from its beginning to its end, life by life. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from . import reading, search
from .life import Life
from .signs import TRACEBACK, Meaning, Turn, raised

CACHED = 4096
"""Lines whose meaning is remembered: where there is one error a second, it is always the same."""
MOST_LINES = 200
"""Lines that are looked at for the one that names a traceback's exception, the indented ones left out."""
_BEGINNING = re.compile(rb"\n(?=\S)")


class Reader:
    """Reads a log."""

    def __init__(self) -> None:
        """Begin before its first line."""
        self.earlier: Life | None = None
        """The last life but the current one that ended badly, if one did."""
        self.life = Life()
        self._line, self._counted = 1, 0
        """The number of a line, and where it begins in the block."""
        self._known: dict[bytes, Meaning] = {}
        self._looked_at = 0

    def read(self, blocks: Iterable[bytes]) -> None:
        """Read blocks of whole lines."""
        for block in blocks:
            self._read(search.plain(block))

    def _read(self, block: bytes) -> None:
        found = search.hits(block)
        read = self._counted = 0
        for at, (begin, literals) in enumerate(found):
            if self.life.in_traceback and read < begin:
                self._look_for_exception(block, read, begin)
            end = block.find(b"\n", begin) + 1 or len(block)
            if literals != TRACEBACK or not self._is_one_of_many(found[max(0, at - 1) : at + 2]):
                self._take(self._number(block, begin), reading.cut(block[begin:end].rstrip(b"\n")), literals)
            read = end
        if self.life.in_traceback and read < len(block):
            self._look_for_exception(block, read, len(block))
        self._number(block, len(block))

    def _number(self, block: bytes, begin: int) -> int:
        """Return the number of the line that begins there, which is none of those that were asked for before."""
        self._line += block.count(b"\n", self._counted, begin)
        self._counted = begin
        return self._line

    def _is_one_of_many(self, around: Sequence[tuple[int, tuple[str, ...]]]) -> bool:
        """Tell whether a line begins one of many tracebacks in a row, in which nothing stands that is known.

        Only the first one may belong to what stands before it, and only the last one to what comes then.
        """
        return [literals for _, literals in around] == [TRACEBACK] * 3 and not self.life.in_traceback

    def _take(self, line: int, content: bytes, literals: tuple[str, ...]) -> None:
        meaning = self._meaning(content, literals)
        if meaning.begins and self.life.is_anothers(meaning.turns):
            self.life.finish()
            self.earlier, self.life = (self.life if self.life.ended else self.earlier), Life()
        turns = meaning.turns
        if self.life.in_traceback and (error := raised(reading.text(content, literals))):
            turns = (*turns, (Turn.RAISED, error))
        self._looked_at = 0
        self.life.take(line, turns, meaning.signs)

    def _meaning(self, content: bytes, literals: tuple[str, ...]) -> Meaning:
        known = self._known.get(content)
        if known is None:
            known = Meaning(content, literals)
            if len(self._known) >= CACHED:
                self._known.clear()
            if len(content) <= reading.COMPARED:
                self._known[content] = known
        return known

    def _look_for_exception(self, block: bytes, begin: int, end: int) -> None:
        """Look among lines that have no text for the one that names the exception which is to come."""
        at = begin if begin == 0 and not block[:1].isspace() else _next(block, begin, end)
        while at >= 0 and self._looked_at < MOST_LINES:
            self._looked_at += 1
            error = raised(reading.text(reading.cut(block[at : block.find(b"\n", at)])))
            if error:
                self.life.take(self._number(block, at), ((Turn.RAISED, error),), ())
                return
            at = _next(block, at + 1, end)


def _next(block: bytes, begin: int, end: int) -> int:
    """Return where the next line begins that is not indented; -1: there is none before ``end``."""
    found = _BEGINNING.search(block, max(0, begin - 1), end)
    return found.end() if found and found.end() < end else -1
