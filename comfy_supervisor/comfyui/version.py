"""Which version a ComfyUI folder says it is; nothing of it is executed."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_version(directory: Path) -> str:
    """Return the version of the ComfyUI in `directory`, ``0.3.64``; empty if it doesn't say.

    From ``comfyui_version.py``, which releases since 0.3.9 have, else from ``pyproject.toml``.
    """
    return _from_module(directory / "comfyui_version.py") or _from_project(directory / "pyproject.toml")


def _from_module(file: Path) -> str:
    """Return the string that the module assigns to ``__version__``."""
    try:
        body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError):  # ValueError: a null byte, before Python 3.12
        return ""
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__version__")], value=ast.Constant(value=str(version))):
                return version
    return ""


def _from_project(file: Path) -> str:
    """Return the project's version from its metadata."""
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project")
    except (OSError, ValueError):  # TOML's and UTF-8's errors are ValueErrors
        return ""
    version = project.get("version") if isinstance(project, dict) else None
    return version if isinstance(version, str) else ""
