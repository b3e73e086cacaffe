"""Dataclasses of ours as JSON, and back.

By hand, since the health listener lives with it for months: pydantic, which reads the settings, would take 10 MiB of
the listener's memory. What is read is as strict as JSON: a number is no text, and true is no number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_Reader = Callable[[Any], Any]
"""Makes a value of one type from what JSON has of it, or raises _WrongError."""


class MalformedError(ValueError):
    """JSON that isn't what was expected; the text says where."""


class _WrongError(Exception):
    """What is wrong, and the names that lead there."""

    def __init__(self, what: str, *where: str) -> None:
        super().__init__(what)
        self.what = what
        self.where = where


def plain(value: Any) -> Any:
    """Return a dataclass of ours as dictionaries, lists and numbers."""
    return _plain(value, _all)


def changed(value: Any) -> dict[str, Any]:
    """Return only those fields of a dataclass that differ from their defaults."""
    found: dict[str, Any] = _plain(value, _differing)
    return found


def understood(kind: type[T], value: Any) -> T:
    """Return the dataclass that such dictionaries describe, missing fields at their defaults; raises MalformedError."""
    wanted: Any = kind
    try:
        found: T = _reader(wanted)(value)
    except _WrongError as error:
        raise MalformedError(f"{'.'.join(error.where) or kind.__name__}: {error.what}") from None
    return found


def read(kind: type[T], text: str | bytes) -> T:
    """Return the dataclass that a JSON text describes; raises MalformedError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error)) from error
    return understood(kind, value)


def _plain(value: Any, chosen: Callable[[Any], dict[str, Any]]) -> Any:
    if is_dataclass(value):
        return {name: _plain(each, chosen) for name, each in chosen(value).items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(each, chosen) for each in value]
    if isinstance(value, Mapping):
        return {key: _plain(each, chosen) for key, each in value.items()}
    return value


def _all(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _differing(value: Any) -> dict[str, Any]:
    return {each.name: now for each in fields(value) if (now := getattr(value, each.name)) != _default(each)}


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


@cache
def _reader(kind: Any) -> _Reader:
    """Return the reader of a type."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    if is_dataclass(kind):
        return partial(_record, kind)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return partial(_either, parts)
    if origin is tuple:
        return partial(_row, parts)
    if origin is Mapping:
        return partial(_mapping, parts[1])
    return partial(_member, kind)


def _record(kind: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise _WrongError("not an object")
    readers, required = _fields(kind)
    for name in sorted(required - value.keys()):
        raise _WrongError("missing", name)
    return kind(**{name: _within(name, readers[name], value[name]) for name in readers.keys() & value.keys()})


@cache
def _fields(kind: Any) -> tuple[dict[str, _Reader], frozenset[str]]:
    """Return the reader of each field of a dataclass, and which ones have no default."""
    hints = get_type_hints(kind)
    required = (each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING)
    return {each.name: _reader(hints[each.name]) for each in fields(kind)}, frozenset(required)


def _within(name: str, reader: _Reader, value: Any) -> Any:
    try:
        return reader(value)
    except _WrongError as error:
        raise _WrongError(error.what, name, *error.where) from None


def _either(kinds: tuple[Any, ...], value: Any) -> Any:
    """Read a value of one of several types; what is wrong is said of the last that isn't None."""
    if value is None and NoneType in kinds:
        return None
    *others, last = (each for each in kinds if each is not NoneType)
    for kind in others:
        try:
            return _reader(kind)(value)
        except _WrongError:
            continue
    return _reader(last)(value)


def _row(kinds: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _WrongError("not a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise _WrongError(f"not {len(kinds)} values")
    readers = map(_reader, kinds)
    return tuple(_within(str(at), reader, each) for at, (reader, each) in enumerate(zip(readers, value, strict=True)))


def _mapping(kind: Any, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WrongError("not an object")
    return {_text(key): _within(key, _reader(kind), each) for key, each in value.items()}


def _member(kind: type[Enum], value: Any) -> Enum:
    try:
        return kind(value)
    except ValueError:
        raise _WrongError(f"none of {', '.join(repr(each.value) for each in kind)}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongError("not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _WrongError("half a character, which can't be written down") from None
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _WrongError("not a whole number")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _WrongError("not a number")
    try:
        return float(value)
    except OverflowError:
        raise _WrongError("a number out of range") from None


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongError("neither true nor false")
    return value


_SCALARS: Mapping[Any, _Reader] = {
    str: _text,
    int: _whole,
    float: _number,
    bool: _switch,
    Any: lambda value: value,
}
