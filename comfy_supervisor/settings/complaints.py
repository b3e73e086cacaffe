"""What is wrong with a settings file, each problem in one line that names its mend."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from .schema import Expected, Section, as_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

LONGEST_VALUE = 80


@dataclass(frozen=True)
class Complaint:
    """One problem with one key."""

    path: tuple[str, ...]
    value: Any
    text: str

    def line(self, file: Path | None, variables: Mapping[tuple[str, ...], str]) -> str:
        """Return it as one line: where it was set, the key, the value, what is expected."""
        origin = next((variables[path] for path in _prefixes(self.path) if path in variables), "")
        where = f"environment variable {origin}" if origin else str(file or "settings")
        key = ".".join(word if word.isprintable() else json.dumps(word) for word in self.path)
        return f"{where}: {key} = {_shown(self.value)}: {self.text}"


def complaints(model: type[Section], data: Mapping[str, Any], error: ValidationError) -> list[Complaint]:
    """Return pydantic's findings on the data as ours: one a key, in the file's order."""
    found: dict[tuple[str, ...], Complaint] = {}
    for detail in error.errors(include_url=False):
        complaint = _complaint(model, data, detail)
        found.setdefault(complaint.path, complaint)
    return list(found.values())


def expected(known: FieldInfo) -> str:
    """Return what a field takes, in its user's words."""
    return _expectation(known).text


def _complaint(model: type[Section], data: Mapping[str, Any], detail: ErrorDetails) -> Complaint:
    location = tuple(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return Complaint(location, detail["input"], _unknown(model, location))
    path, known = _field(model, location)
    if known is None:
        return Complaint(path, detail["input"], "expected a table")
    expectation = _expectation(known)
    if not expectation.entry or location == path:
        return Complaint(path, detail["input"], f"expected {expectation.text}")
    entry = location[: len(path) + 1]
    if location[len(entry) :] == ("[key]",):  # pydantic's mark: it is the name that is wrong
        value = reduce(lambda table, word: table[word], entry, data)
        return Complaint(entry, value, str(detail["ctx"]["error"]))
    return Complaint(entry, detail["input"], f"expected {expectation.entry}")


def _expectation(known: FieldInfo) -> Expected:
    return next((item for item in known.metadata if isinstance(item, Expected)), Expected("a table"))


def key_paths(model: type[Section], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Yield every key of the settings with its field, in order."""
    for name, known in model.model_fields.items():
        table = as_table(known.annotation)
        if table:
            yield from key_paths(table, (*above, name))
        else:
            yield (*above, name), known


def _field(model: type[Section], location: tuple[str, ...]) -> tuple[tuple[str, ...], FieldInfo | None]:
    """Return the longest part of a location that names a field: what lies beyond is pydantic's own."""
    leaves = dict(key_paths(model))
    for path in _prefixes(location):
        if path in leaves:
            return path, leaves[path]
    return location, None


def _unknown(model: type[Section], location: tuple[str, ...]) -> str:
    """Say that a key is unknown, with the one of the nearest name: in the same table, else in any."""
    keys = [path for path, _ in key_paths(model)]
    tables = [path[:length] for path in keys for length in range(1, len(path))]
    names = {path[-1]: path for path in reversed([*keys, *tables])}
    siblings = {path[-1]: path for path in (*keys, *tables) if path[:-1] == location[:-1]}
    for known in (siblings, names):
        for match in difflib.get_close_matches(location[-1].lower(), known, 1, 0.75):
            return f"unknown key; did you mean {'.'.join(known[match])}?"
    return "unknown key; README.md lists them all"


def _prefixes(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for length in range(len(path), 0, -1):
        yield path[:length]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
