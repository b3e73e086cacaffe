"""The secrets that the settings file holds: that not everybody may read them."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import suppress

from ..incidents.mask import is_secret_name
from ..settings import Loaded
from . import finding
from .finding import Finding
from .patient import Patient

_ELSEWHERE = ("env:", "file:")
"""How a value begins that only says where the secret is."""


def secrets(patient: Patient) -> Iterator[Finding]:
    """Tell whether others may read the settings file, where it holds secrets; its group is its owner's choice."""
    held = tuple(_held(patient.loaded))
    file = patient.loaded.file
    if not (held and file):
        return
    with suppress(OSError):
        if file.stat().st_mode & stat.S_IRWXO:
            found = f"{file} is open to every user of this machine, and holds {', '.join(held)}"
            yield finding.warning("secret", found, "closed to others", f"chmod o= {file}")
        else:
            yield finding.ok("secret", f"{file} is closed to others", "closed to others")


def _held(loaded: Loaded) -> Iterator[str]:
    """Yield the keys of the secrets that stand in the settings file itself."""
    comfyui, notify = loaded.settings.comfyui, loaded.settings.notify
    values: dict[tuple[str, ...], str | bool] = {
        **{("comfyui", "environment", name): value for name, value in comfyui.environment.items()},
        **{("notify", "headers", name): value for name, value in notify.headers.items()},
        ("notify", "webhook"): notify.webhook,
        ("notify", "urls"): next((url for url in notify.urls if not url.startswith(_ELSEWHERE)), ""),
    }
    for path, value in values.items():
        is_here = loaded.variables.keys().isdisjoint({path, path[:2]}) and not str(value).startswith(_ELSEWHERE)
        if value and is_here and (path[0] == "notify" or is_secret_name(path[-1])):
            yield ".".join(path)
