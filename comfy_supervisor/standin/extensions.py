"""Packages of custom nodes, for what else they do: found and imported as ComfyUI does it.

Only those that ``--extra-model-paths-config`` names: those of a ComfyUI's own folder are for a ComfyUI.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from comfy_supervisor.standin import execution, nodes, prompt_server
from comfy_supervisor.standin.configuration import Extensions

_log = logging.getLogger(__name__)

_KIND = "custom_nodes"


async def load(extensions: Extensions) -> None:
    """Import them, while the event loop runs and the worker does not; one that fails is said and survived.

    From then on this process has modules of ComfyUI's names. Raises OSError for a file or folder that can't be
    read, which ends the start, as with ComfyUI.
    """
    sys.modules.update(server=prompt_server, execution=execution, nodes=nodes)
    times = [
        (*_timed(path), str(path))
        for folder in _folders(extensions.files)
        for path in sorted(folder.iterdir())
        if _is_loaded(path, extensions)
    ]
    if times:
        _log.info("\nImport times for custom nodes:")
    for seconds, worked, path in times:
        _log.info("%6.1f seconds%s: %s", seconds, "" if worked else " (IMPORT FAILED)", path)


def _folders(files: tuple[str, ...]) -> list[Path]:
    """Return the folders that the files name, each once."""
    found: list[Path] = []
    for file in map(Path, files):
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            _log.warning("%s: the stand-in reads only JSON here, goes on without it", file)
            continue
        for section in config.values():
            new = [path for path in _named(section or {}, file.absolute().parent) if path not in found]
            found = [*new, *found] if section and section.get("is_default") else [*found, *new]
    return found


def _named(section: dict[str, Any], beside: Path) -> list[Path]:
    """Return the folders that one section names: lines, relative to its ``base_path`` or to the file."""
    base = beside / os.path.expandvars(Path(section.get("base_path", "")).expanduser())
    paths = [Path(os.path.normpath(base / line)) for line in section.get(_KIND, "").split("\n") if line]
    for path in paths:
        _log.info("Adding extra search path %s %s", _KIND, path)
    return paths


def _is_loaded(path: Path, extensions: Extensions) -> bool:
    if path.name == "__pycache__" or path.suffix == ".disabled" or (path.is_file() and path.suffix != ".py"):
        return False
    if extensions.only is None or path.name in extensions.only:
        return True
    _log.info("Skipping %s due to disable_all_custom_nodes and whitelist_custom_nodes", path.name)
    return False


def _timed(path: Path) -> tuple[float, bool]:
    """Import one; return the seconds that it took, and whether it worked."""
    started = time.perf_counter()
    try:
        worked = _offers_nodes(_import(path), path)
    except Exception as error:  # noqa: BLE001  # whatever it is, ComfyUI goes on
        _log.warning("%s", traceback.format_exc())
        _log.warning("Cannot import %s module for custom nodes: %s", path, error)
        worked = False
    return time.perf_counter() - started, worked


def _import(path: Path) -> ModuleType:
    """Import a file or a package, under the name that ComfyUI gives it."""
    is_file = path.is_file()
    name = str(path.with_suffix("")) if is_file else str(path).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, path if is_file else path / "__init__.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _offers_nodes(module: ModuleType, path: Path) -> bool:
    """Tell whether ComfyUI would call it a package of nodes. The stand-in has its own, and takes none from others."""
    offered = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if offered is None and not hasattr(module, "comfy_entrypoint"):
        _log.warning("Skip %s module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or comfy_entrypoint", path)
        return False
    if offered or offered is None:
        _log.info("%s: the stand-in leaves out its nodes: %s", path, ", ".join(offered or ("comfy_entrypoint",)))
    return True
