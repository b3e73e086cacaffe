"""Chooses the Python that runs ComfyUI."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError

_CONDA_HOMES = ("miniconda3", "anaconda3", "miniforge3")
_SYSTEMS = (Path("/usr/bin"), Path("/bin"))
"""Where the system's own Python is, whose pip refuses to install anything (PEP 668)."""


def choose_python(python: str, directory: Path, environ: Mapping[str, str], home: Path, cwd: Path) -> Path:
    """Return the interpreter for the ComfyUI in `directory`: the given one, or the first that is there.

    No link is resolved: a virtual environment is known by the place of its ``bin/python``. Raises UserError.
    """
    for key, value in (("comfyui.python", python), ("$COMFYUI_PYTHON", environ.get("COMFYUI_PYTHON", ""))):
        if value:
            return _given(key, value, environ, home, cwd)
    looked = interpreters(directory, environ, home, without=environment_without_torch())
    found = next((path for path in looked if not _trouble(path)), None)
    if found is None:
        raise UserError(
            f'comfyui.python = "": none of {", ".join(map(str, looked))} is there;'
            " set it to the Python that runs ComfyUI"
        )
    return found


def installing(python: Path, directory: Path = Path()) -> str:
    """Return the command that installs what the ComfyUI in `directory`, by default the working one, requires.

    For the system's Python that is into an environment beside ComfyUI, where it is found then.
    """
    file, own = directory / "requirements.txt", directory / "venv"
    if python.parent in _SYSTEMS:
        return f"{python} -m venv {own} && {own}/bin/python -m pip install -r {file}"
    return f"{python} -m pip install -r {file}"


def interpreters(
    directory: Path, environ: Mapping[str, str], home: Path, *, without: Path | None = None
) -> tuple[Path, ...]:
    """Return the Pythons that may be the one of the ComfyUI in `directory`, the likeliest first.

    Those of `environments`, then the first on PATH; never that of the environment `without`.
    """
    excluded = os.path.realpath(without / "bin") if without else ""
    folders = [environment / "bin" for environment in environments(directory, environ, home)]
    pythons = [folder / "python" for folder in folders if os.path.realpath(folder) != excluded]
    path = environ.get("PATH", os.defpath).split(os.pathsep)
    searched = os.pathsep.join(entry for entry in path if os.path.realpath(entry) != excluded)
    on_path = shutil.which("python3", path=searched)
    return (*pythons, *([Path(on_path).absolute()] if on_path else []))


def environments(directory: Path, environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Return where ComfyUI's environment may be: beside it, else an active one, or conda's ``comfyui``.

    Conda's base comes last: it is active in most shells by default, and rarely meant.
    """
    conda = [Path(environ["CONDA_PREFIX"])] if environ.get("CONDA_PREFIX") else []
    base = environ.get("CONDA_DEFAULT_ENV") == "base"
    return (
        *(folder / name for folder in (directory, directory.parent) for name in ("venv", ".venv")),
        *(() if base else conda),
        *(home / conda_home / "envs" / "comfyui" for conda_home in _CONDA_HOMES),
        *([Path(environ["VIRTUAL_ENV"])] if environ.get("VIRTUAL_ENV") else []),
        *(conda if base else ()),
    )


def environment_without_torch() -> Path | None:
    """Return the virtual environment that runs us, if it has no torch: then it is ours, not ComfyUI's."""
    if sys.prefix == sys.base_prefix or importlib.util.find_spec("torch"):
        return None
    return Path(sys.prefix)


def _given(key: str, value: str, environ: Mapping[str, str], home: Path, cwd: Path) -> Path:
    """Return the interpreter that was asked for by path, or by a name on PATH."""
    if os.sep not in value:
        found = shutil.which(value, path=environ.get("PATH", os.defpath))
        if not found:
            raise UserError(f'{key} = "{value}": no such program on PATH; give the path of ComfyUI\'s Python')
        return cwd / found
    path = home / value[2:] if value.startswith("~/") else cwd / value
    if trouble := _trouble(path):
        inside = path / "bin" / "python"
        mend = "give the path of ComfyUI's Python" if _trouble(inside) else f'did you mean "{inside}"?'
        raise UserError(f'{key} = "{value}": {trouble}; {mend}')
    return path


def _trouble(path: Path) -> str:
    """Return why the path is no program; empty if it is one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"cannot be used ({error.strerror})"
    if stat.S_ISDIR(mode):
        return "is a folder"
    return "" if os.access(path, os.X_OK) else "is not executable"
