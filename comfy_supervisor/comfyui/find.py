"""Finds the ComfyUI to run."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from ..model import Installation
from .pythons import choose_python
from .version import read_version

STANDIN = "standin"
"""In place of a folder: our own stand-in, run by our own interpreter."""

_STANDIN_FOLDER = Path(__file__).parents[1] / "standin"
_VARIABLE = "COMFYUI_DIR"
_MARKS = ("main.py", "comfy/cli_args.py")
"""The files that make a folder a ComfyUI."""


class NotFoundError(UserError):
    """No ComfyUI was named, and none is in the usual places."""


def find(
    directory: str = "",
    python: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    home: Path | None = None,
    cwd: Path | None = None,
) -> Installation:
    """Return the ComfyUI in `directory` with its interpreter `python`; what is empty is looked for.

    `directory` is a folder, or ``standin``; `python` a path, or a name on PATH. The settings' values count
    first, then $COMFYUI_DIR and $COMFYUI_PYTHON, which take the same, then the usual places (`candidates`,
    `pythons.interpreters`). Whether the interpreter is good for ComfyUI shows when it is asked something.
    Raises UserError; NotFoundError where nothing was named.
    """
    environ = os.environ if environ is None else environ
    home, cwd = home or Path(os.path.expanduser("~")), cwd or Path.cwd()  # noqa: PTH111  # Path.home() raises where there is none
    if (directory or environ.get(_VARIABLE)) == STANDIN:
        return Installation(_STANDIN_FOLDER, Path(sys.executable), read_version(_STANDIN_FOLDER))
    folder = _folder(directory, environ, home, cwd)
    return Installation(folder, choose_python(python, folder, environ, home, cwd), read_version(folder))


def is_standin(directory: Path) -> bool:
    """Tell whether ComfyUI's folder is that of our own stand-in."""
    return directory == _STANDIN_FOLDER


def candidates(environ: Mapping[str, str], home: Path, cwd: Path) -> tuple[Path, ...]:
    """Return the folders in which a ComfyUI is looked for, the likeliest first.

    Those of comfy-cli are named in its ``config.ini``; its older versions record the folder above ComfyUI's.
    """
    given = [cwd / environ[_VARIABLE]] if environ.get(_VARIABLE) else []
    usual = [cwd / "ComfyUI", cwd, home / "ComfyUI", Path("/opt/ComfyUI")]
    recorded = _comfy_cli_workspaces(home / ".config" / "comfy-cli" / "config.ini")
    of_comfy_cli = [folder for workspace in recorded for folder in (workspace, workspace / "ComfyUI")]
    return tuple(dict.fromkeys([*given, *usual, *of_comfy_cli, home / "comfy" / "ComfyUI"]))


def _folder(directory: str, environ: Mapping[str, str], home: Path, cwd: Path) -> Path:
    """Return ComfyUI's folder: the given one, or the first candidate that is one."""
    for key, value in (("comfyui.directory", directory), (f"${_VARIABLE}", environ.get(_VARIABLE, ""))):
        if value:
            folder = home / value[2:] if value.startswith("~/") else cwd / value
            if trouble := _trouble(folder):
                raise UserError(f'{key} = "{value}": {trouble}')
            return folder
    looked = candidates(environ, home, cwd)
    found = next((folder for folder in looked if not _trouble(folder)), None)
    if found is None:
        raise NotFoundError(
            f'comfyui.directory = "": no ComfyUI found in {", ".join(map(str, looked))}; set it (or $COMFYUI_DIR)'
            f' to the folder that holds ComfyUI\'s main.py, or to "{STANDIN}" for a first try without one'
        )
    return found


def _trouble(folder: Path) -> str:
    """Return why the folder is no ComfyUI, with the mend; empty if it is one."""
    try:
        missing = [mark for mark in _MARKS if not (folder / mark).is_file()]
        if not missing:
            return ""
        what = "is not ComfyUI's folder" if folder.is_dir() else "is no folder"
        nested = next((near for near in (folder / "ComfyUI", folder.parent) if _is_comfyui(near)), None)
    except OSError as error:
        return f"cannot be read ({error.strerror}); give one that can, or mend its permissions"
    mend = f'did you mean "{nested}"?' if nested else "give the folder that holds ComfyUI's main.py"
    return f"{what} ({' and '.join(missing)} not found); {mend}"


def _is_comfyui(folder: Path) -> bool:
    """Tell whether the folder holds what makes it a ComfyUI; raises OSError if it cannot be read."""
    return all((folder / mark).is_file() for mark in _MARKS)


def _comfy_cli_workspaces(config: Path) -> list[Path]:
    """Return the workspaces that comfy-cli has recorded, the chosen one before the latest."""
    parser = configparser.ConfigParser()
    try:
        parser.read(config, encoding="utf-8")
        values = [parser["DEFAULT"].get(key) for key in ("default_workspace", "recent_workspace")]
    except (OSError, UnicodeDecodeError, configparser.Error):
        return []
    return [Path(value) for value in values if value]
