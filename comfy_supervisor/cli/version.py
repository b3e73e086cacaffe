"""``comfy-supervisor version``."""

from __future__ import annotations

import platform
from importlib.metadata import version

import click

from .. import __version__, plan
from ..comfyui import find
from ..errors import UserError
from ..settings import Loaded
from .common import print_json, with_json, with_settings


@click.command("version")
@with_json
@with_settings
def command(loaded: Loaded, as_json: bool) -> None:
    """ComfyUI's is that of the installation that the settings mean."""
    versions = {
        "comfy-supervisor": __version__,
        "supervisor": version("supervisor"),
        "python": platform.python_version(),
        "comfyui": _comfyui(loaded),
    }
    if as_json:
        print_json(versions)
    else:
        for name, found in versions.items():
            click.echo(f"{name:<17} {found or 'not found'}")


def _comfyui(loaded: Loaded) -> str | None:
    try:
        found = plan.installed(loaded)
        return (found.version or "unknown") + (" (the stand-in)" if find.is_standin(found.directory) else "")
    except UserError:
        return None
