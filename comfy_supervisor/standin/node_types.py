"""What a node is to the stand-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from comfy_supervisor.standin.configuration import Folders
from comfy_supervisor.standin.control import Control


@dataclass(frozen=True)
class Result:
    """What a node returned."""

    outputs: tuple[Any, ...] = ()
    ui: dict[str, list[Any]] | None = None
    """What clients are shown of it; None if there is nothing to show."""


@dataclass(frozen=True)
class Run:
    """What a node may use while it runs."""

    prompt: Mapping[str, Any]
    folders: Folders
    control: Control
    progress: Callable[[float, float], None]
    """Reports steps done, of steps in all."""


@dataclass(frozen=True)
class NodeType:
    """One class of nodes, described as ``/object_info`` does."""

    name: str
    display_name: str
    run: Callable[[Run, dict[str, Any]], Result]
    inputs: Mapping[str, Mapping[str, Any]]
    """By ``required``, ``optional`` and ``hidden``: name to (type, settings)."""
    returns: tuple[str, ...] = ()
    return_names: tuple[str, ...] = ()
    is_output: bool = False
    is_volatile: bool = False
    """Runs each time; neither it nor what depends on it is ever taken from the cache."""
    is_remote: bool = False
    """Calls an API elsewhere."""
    category: str = "image"
    description: str = ""
    aliases: tuple[str, ...] = ()

    def declared(self) -> dict[str, tuple[Any, dict[str, Any], bool]]:
        """Return each visible input's type, settings, and whether it has to be given."""
        return {
            name: (spec[0], spec[1] if len(spec) > 1 else {}, kind == "required")
            for kind in ("required", "optional")
            for name, spec in self.inputs.get(kind, {}).items()
        }
