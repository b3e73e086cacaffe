"""``health.json``: what the listener watches, and by which rules. Written by render, read anew when it changes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .. import codec
from ..errors import UserError
from .policy.rules import Rules


@dataclass(frozen=True)
class Watched:
    """One instance, as the listener needs to know it."""

    program: str
    """Its name for supervisorctl."""
    id: str
    url: str
    """The API's root."""
    port: int
    state: str
    run: str
    log: str
    gpu: str = ""
    """Its GPU's UUID; empty: the CPU."""
    stop_seconds: float = 10.0
    patient_nodes: tuple[str, ...] = ()
    rules: Rules = field(default_factory=Rules)
    extension: bool = False
    """Whether ComfyUI is told to load our extension."""
    replay: str = "always"
    """Which deaths its unfinished jobs are submitted again after: ``always``, ``crash``, ``never``."""
    max_age: float = 86400.0
    """Age from which an unfinished job waits for an operator; seconds."""
    history: int = 10000
    """How many finished jobs are remembered."""
    incidents_keep: int = 100
    """How many incidents of all instances are kept; 0: none is made."""
    incidents_size: int = 100 * 1024 * 1024
    """Bytes that they may take."""


@dataclass(frozen=True)
class _File:
    v: int
    instances: tuple[Watched, ...]


def text(instances: Iterable[Watched]) -> str:
    """Return the file's content, the same for the same instances."""
    rows = [codec.changed(instance) for instance in instances]
    return json.dumps({"v": 1, "instances": rows}, indent=1, sort_keys=True) + "\n"


def read(file: Path) -> tuple[Watched, ...]:
    """Return what is to be watched; raises UserError if the file isn't there, or makes no sense."""
    try:
        return codec.read(_File, file.read_bytes()).instances
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; comfy-supervisor render writes it") from error
    except codec.MalformedError as error:
        raise UserError(f"{file}: {error}; comfy-supervisor render writes it anew") from error
