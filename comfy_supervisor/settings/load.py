"""Find the settings file, lay the environment over it, check the whole."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import ValidationError

from ..errors import UserError
from .complaints import Complaint, complaints, hidden
from .schema import Section, Settings, Word, as_table, contradictions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME = "comfy-supervisor.toml"
PREFIX = "COMFY_SUPERVISOR__"
FILE_VARIABLE = "COMFY_SUPERVISOR_CONFIG"

KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """Valid settings, and where they came from."""

    settings: Settings
    file: Path | None
    """None: no file was found, and every setting has its default or comes from the environment."""
    variables: Mapping[KeyPath, str] = field(default_factory=dict)
    """The environment variable behind each key that one has set."""

    @property
    def source(self) -> str:
        """The file's path, or how to say that there is none."""
        return str(self.file) if self.file else "defaults (no settings file)"

    def path(self, text: str) -> Path:
        """Return an absolute path without ``..``: ``~`` expanded, relative to the settings file's folder.

        Raises UserError if there is no such home folder.
        """
        base = self.file.parent if self.file else Path.cwd()
        return Path(os.path.normpath(base / expanded(text, self.source)))


def expanded(text: str, origin: str) -> Path:
    """Return a path with its ``~`` expanded; raises UserError, which names the origin, if there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        home = text.split("/", 1)[0]
        raise UserError(f'{origin}: "{text}": no home folder is known for {home}; write the path in full') from error


def named(given: str | None, environ: Mapping[str, str], cwd: Path) -> tuple[Path, str] | None:
    """Return the file that somebody names as the settings file, absolute, and by what; None if nobody does.

    Raises UserError if it is in a home folder that there isn't.
    """
    file, origin = (given, "--config") if given else (environ.get(FILE_VARIABLE), f"${FILE_VARIABLE}")
    return (cwd / expanded(file, origin), origin) if file else None


def find(given: str | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the settings file to use, absolute, or None if there is none.

    Raises UserError if one was named (``--config`` or $COMFY_SUPERVISOR_CONFIG) and isn't there.
    """
    if found := named(given, environ, cwd):
        file, origin = found
        if not file.is_file():
            raise UserError(f"{file}: no such file, though {origin} names it; comfy-supervisor init writes one")
        return file
    home = Path(environ.get("HOME") or "~").expanduser()
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    folders = (cwd, user / "comfy-supervisor", Path("/etc/comfy-supervisor"))
    return next((folder / FILE_NAME for folder in folders if (folder / FILE_NAME).is_file()), None)


def load(file: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Return the settings of a file with the environment's laid over them.

    Raises UserError with every problem at once, one line each.
    """
    loaded, problems = salvage(file, environ)
    if problems:
        raise UserError(*problems)
    return loaded


def salvage(file: Path | None, environ: Mapping[str, str]) -> tuple[Loaded, tuple[str, ...]]:
    """Return the settings as `load` does, with their defaults where they are wrong, and every problem as a line.

    Raises UserError if the file can't be read at all.
    """
    try:
        return _salvage(file, environ)
    except RecursionError:
        raise UserError(f"{file or 'environment'}: tables or lists within each other are too many") from None


def _salvage(file: Path | None, environ: Mapping[str, str]) -> tuple[Loaded, tuple[str, ...]]:
    data = _read(file) if file else {}
    variables: dict[KeyPath, str] = {}
    found: list[Complaint] = []
    for variable, path, text in _overrides(environ):
        variables[path] = variable
        if not _is_utf8(variable):
            found.append(Complaint(path, hidden(text), "a name that is not UTF-8"))
            continue
        try:
            _set(data, path, _value(text))
        except TypeError:
            found.append(Complaint(path, hidden(text), "a plain value where a table belongs, or the reverse"))
    settings, problems = _validate(data)
    lines = (complaint.line(file, variables) for complaint in found + problems)
    return Loaded(settings, file, variables), tuple(lines)


def _read(file: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        mend = "; whom it belongs to can, and root: sudo comfy-supervisor" if isinstance(error, PermissionError) else ""
        raise UserError(f"{file}: can't be read: {error.strerror}{mend}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except ValueError as error:  # also of a number with thousands of digits
        raise UserError(f"{file}: not valid TOML: {error}") from error
    return data


def _validate(data: dict[str, Any]) -> tuple[Settings, list[Complaint]]:
    """Validate; where keys are wrong, do it again without them to find what else is."""
    try:
        settings, found = Settings.model_validate(data), []
    except ValidationError as error:
        found = complaints(Settings, data, error)
        for complaint in found:
            _remove(data, complaint.path)
        settings = Settings.model_validate(data)
    wrong = {".".join(complaint.path) for complaint in found}
    clashes = [
        Complaint(tuple(key.split(".")), value, expected)
        for key, value, expected in contradictions(settings)
        if not any(key.startswith(path) or path.startswith(key) for path in wrong)
    ]
    return settings, found + clashes


def _overrides(environ: Mapping[str, str]) -> Iterator[tuple[str, KeyPath, str]]:
    """Yield (variable, key path, text), tables before what stands in them."""
    for variable in sorted(environ):
        if variable.startswith(PREFIX):
            yield variable, _key_path(variable), environ[variable]


def _key_path(variable: str) -> KeyPath:
    """Return the key that a variable sets: lower case, but for the free names in comfyui.environment."""
    words = variable.removeprefix(PREFIX).split("__")
    path: list[str] = []
    model: type[Section] | None = Settings
    while words and model:
        path.append(words.pop(0).lower())
        known = model.model_fields.get(path[-1])
        model = as_table(known.annotation) if known else None
        if known and words and get_origin(known.annotation) is dict:
            words = ["__".join(words)]
    return (*path, *words)


def _value(text: str) -> Any:
    """Read lists and tables as JSON; leave everything else to the setting's own type."""
    if text[:1] in ("[", "{"):
        try:
            value = json.loads(text)
        except ValueError:
            return Word(text)
        return value if _is_utf8(json.dumps(value, ensure_ascii=False)) else Word(text)
    return Word(text)


def _is_utf8(text: str) -> bool:
    """Tell whether a text has no half characters: an environment may, and so may JSON."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _set(data: dict[str, Any], path: KeyPath, value: Any) -> None:
    for word in path[:-1]:
        data = data.setdefault(word, {})
        if not isinstance(data, dict):
            raise TypeError(word)
    if isinstance(data.get(path[-1]), dict) and not isinstance(value, dict):
        raise TypeError(path[-1])
    data[path[-1]] = value


def _remove(data: dict[str, Any], path: KeyPath) -> None:
    for word in path[:-1]:
        data = data.get(word, {})
        if not isinstance(data, dict):
            return
    data.pop(path[-1], None)
