"""What is taken where nothing was named or found: the stand-in for ComfyUI, PATH's Python for its interpreter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from . import plan, presence, rendered
from .comfyui import find, pythons
from .errors import UserError
from .model import Installation
from .settings import Loaded

KEPT = (
    "what runs is the stand-in (up --or-standin), since no ComfyUI is found; "
    "set comfyui.directory (or $COMFYUI_DIR) to ComfyUI's folder, then: comfy-supervisor apply"
)


def with_standin(loaded: Loaded) -> Loaded:
    """Return the settings, with the stand-in for ComfyUI."""
    comfyui = loaded.settings.comfyui.model_copy(update={"directory": find.STANDIN})
    return replace(loaded, settings=loaded.settings.model_copy(update={"comfyui": comfyui}))


def kept(loaded: Loaded, conf: Path) -> bool:
    """Tell whether the settings mean the stand-in without a word of it: that runs, and no ComfyUI is named or found.

    ``conf``: what is rendered.
    """
    if loaded.settings.comfyui.directory or not conf.exists():
        return False
    try:
        plan.installed(loaded)
    except find.NotFoundError:
        return _standin_runs(conf)
    except UserError:
        pass
    return False


def _standin_runs(conf: Path) -> bool:
    try:
        service = rendered.read(conf)
    except UserError:
        return False
    whole = bool(service.instances) and all(one.standin for one in service.instances)
    return whole and not presence.abandoned(service.socket)


def python_note(loaded: Loaded, installation: Installation, environ: Mapping[str, str] | None = None) -> str:
    """Return what to know of an interpreter that is only the first on PATH; empty if it was named, or ComfyUI's own."""
    environ = os.environ if environ is None else environ
    wanted = loaded.settings.comfyui
    if wanted.python or wanted.version or environ.get("COMFYUI_PYTHON") or find.is_standin(installation.directory):
        return ""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home() raises where there is none
    own = {folder / "bin" / "python" for folder in pythons.environments(installation.directory, environ, home)}
    if installation.python in own:
        return ""
    return (
        f"ComfyUI has no environment of its own (venv, .venv, conda): it runs with {installation.python}, "
        f"the first Python on PATH; if another is meant, set comfyui.python (or $COMFYUI_PYTHON)"
    )
