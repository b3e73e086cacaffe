"""The health room's values as JSON, and back."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


class MalformedError(ValueError):
    """JSON that isn't what was expected; the text says where."""


def plain(value: Any) -> Any:
    """Return a dataclass of ours as dictionaries, lists and numbers."""
    return _adapter(type(value)).dump_python(value, mode="json")


def changed(value: Any) -> dict[str, Any]:
    """Return only those fields of a dataclass that differ from their defaults."""
    found: dict[str, Any] = _adapter(type(value)).dump_python(value, mode="json", exclude_defaults=True)
    return found


def understood(kind: type[T], value: Any) -> T:
    """Return the dataclass that such dictionaries describe, missing fields at their defaults; raises MalformedError."""
    try:
        found: T = _adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise MalformedError(f"{where or kind.__name__}: {first['msg']}") from error
    return found


def read(kind: type[T], text: str | bytes) -> T:
    """Return the dataclass that a JSON text describes; raises MalformedError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error)) from error
    return understood(kind, value)


_adapters: dict[object, TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Return pydantic's adapter of a dataclass, made once."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]
