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
SECRETIVE = "notify"
"""The table whose values may be secret …"""
_HARMLESS = ("on", "collect", "max_age", "keep")
"""… but for these."""
_SECRET_WORDS = ("auth", "cred", "key", "pass", "secret", "token", "url", "hook")
"""In the name of an unknown key that may hold one."""
_VARIABLES = ("comfyui", "environment")
"""The table whose texts may be secret; what is no text is wrong, and shown."""


@dataclass(frozen=True)
class Complaint:
    """One problem with one key."""

    path: tuple[str, ...]
    value: Any
    text: str

    def line(self, file: Path | None, variables: Mapping[tuple[str, ...], str]) -> str:
        """Return it as one line that any terminal can show: where it was set, the key, the value, what is expected."""
        origin = next((variables[path] for path in _prefixes(self.path) if path in variables), "")
        where = f"environment variable {origin}" if origin else str(file or "settings")
        value = hidden(self.value) if self.path[:2] == _VARIABLES else self.value
        key = ".".join(word if word.isprintable() else json.dumps(word) for word in self.path)
        return _printable(f"{where}: {key} = {_shown(self.path, value)}: {self.text}")


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
        meant = _nearest(model, location)
        value = detail["input"] if _is_harmless(model, location, meant) else hidden(detail["input"])
        text = f"did you mean {'.'.join(meant)}?" if meant else "README.md lists them all"
        return Complaint(location, value, f"unknown key; {text}")
    path, known = _field(model, location)
    if known is None:
        return Complaint(path, hidden(detail["input"]), "expected a table")
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


def _nearest(model: type[Section], location: tuple[str, ...]) -> tuple[str, ...]:
    """Return the key or table of the name nearest to an unknown one: in the same table, else in any; empty if none."""
    keys = [path for path, _ in key_paths(model)]
    tables = [path[:length] for path in keys for length in range(1, len(path))]
    names = {path[-1]: path for path in reversed([*keys, *tables])}
    siblings = {path[-1]: path for path in (*keys, *tables) if path[:-1] == location[:-1]}
    for known in (siblings, names):
        for match in difflib.get_close_matches(location[-1].lower(), known, 1, 0.75):
            return known[match]
    return ()


def _is_harmless(model: type[Section], location: tuple[str, ...], meant: tuple[str, ...]) -> bool:
    """Tell whether what stands at an unknown key can be no secret: it was meant for a key that has none."""
    leaves = dict(key_paths(model))
    return (
        meant in leaves
        and meant[0] != SECRETIVE
        and meant[:2] != _VARIABLES
        and not any(word in location[-1].lower() for word in _SECRET_WORDS)
    )


def _prefixes(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for length in range(len(path), 0, -1):
        yield path[:length]


def _printable(text: str) -> str:
    """Return a text whose control characters are written out: no terminal obeys what a value says."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def hidden(value: Any) -> Any:
    """Return a value with its texts hidden: a secret may stand where nobody expects one."""
    if isinstance(value, str):
        return "…"
    if isinstance(value, Mapping):
        return {name: hidden(each) for name, each in value.items()}
    return [hidden(each) for each in value] if isinstance(value, list) else value


def _shown(path: tuple[str, ...], value: Any) -> str:
    """Return a value as it is shown: not at all where it may be secret, also under a misspelt name."""
    if path[0] == SECRETIVE and path[1:2] not in {(name,) for name in _HARMLESS}:
        return "…"
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # a number that came in hexadecimal, with more digits than Python writes out
        return "…"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
