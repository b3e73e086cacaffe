"""What is wrong with a settings file, each problem in one line that names its mend."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .schema import Expected, Section, as_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo

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
        return f"{where}: {'.'.join(self.path)} = {_shown(self.value)}: {self.text}"


def complaints(model: type[Section], error: ValidationError) -> list[Complaint]:
    """Return pydantic's findings as ours: one a key, in the file's order."""
    found: dict[tuple[str, ...], Complaint] = {}
    for detail in error.errors(include_url=False):
        location = tuple(str(part) for part in detail["loc"])
        path, known = _field(model, location)
        if detail["type"] == "extra_forbidden":
            path, text = location, _unknown(model, location)
            value = detail["input"]
        elif known is None:
            text, value = "expected a table", detail["input"]
        else:
            text, value = f"expected {expected(known)}", detail["input"]
        found.setdefault(path, Complaint(path, value, text))
    return list(found.values())


def expected(known: FieldInfo) -> str:
    """Return what a field takes, in its user's words."""
    return next((item.text for item in known.metadata if isinstance(item, Expected)), "a table")


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
    """Say that a key is unknown, with the nearest one that there is: by its whole path, else by its name."""
    keys = [path for path, _ in key_paths(model)]
    tables = [path[:length] for path in keys for length in range(1, len(path))]
    paths = {".".join(path): path for path in (*keys, *tables) if len(path) == len(location)}
    names = {path[-1]: path for path in reversed(keys)}
    for word, known in ((".".join(location), paths), (location[-1], names)):
        for match in difflib.get_close_matches(word, known, 1, 0.75):
            return f"unknown key; did you mean {'.'.join(known[match])}?"
    return "unknown key; README.md lists them all"


def _prefixes(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for length in range(len(path), 0, -1):
        yield path[:length]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
