"""The settings as text: the commented example file, and the table for README.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import ByteSize

from .complaints import expected, key_paths
from .load import FILE_NAME, PREFIX
from .schema import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

HEADER = f"""\
# {FILE_NAME}: the settings of comfy-supervisor.
# Every key has its default here, commented out. Remove the # to change one, then: comfy-supervisor apply
# The environment wins over this file: {PREFIX}COMFYUI__PORT=8189
"""


def example(found: Mapping[str, Any] | None = None) -> str:
    """Return a settings file with every key explained; those found (by key path) are set."""
    found = found or {}
    lines = [HEADER]
    for table, rows in groupby(key_paths(Settings), key=lambda row: row[0][:-1]):
        lines.append(f"[{'.'.join(table)}]")
        for path, known in rows:
            key = ".".join(path)
            value = found.get(key, known.default)
            mark = "" if key in found else "# "
            lines.append(f"# {known.description}{_unit(known)}\n{mark}{path[-1]} = {_toml(value)}")
        lines.append("")
    return "\n".join(lines)


def _unit(known: FieldInfo) -> str:
    """Return what a number counts, and its bounds; the values of all else explain themselves."""
    number = isinstance(known.default, int | float) and not isinstance(known.default, bool)
    return f" ({expected(known)})" if number else ""


def table() -> str:
    """Return README's table of settings, in Markdown."""
    rows = [_row(path, known) for path, known in key_paths(Settings)]
    return "\n".join(["| key | default | takes | what for |", "|---|---|---|---|", *rows]) + "\n"


def _row(path: tuple[str, ...], known: FieldInfo) -> str:
    cells = (f"`{'.'.join(path)}`", f"`{_toml(known.default)}`", expected(known), known.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _toml(value: Any) -> str:
    if isinstance(value, ByteSize):
        return json.dumps(value.human_readable().replace(".0", "")) if value else "0"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)
