"""The workflow of a test generation: read from a file, and made one that ComfyUI has not done yet."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import UserError

Graph = dict[str, Any]

SEEDS = frozenset({"seed", "noise_seed"})
"""Inputs that ComfyUI's own page draws anew for each job."""


def read(file: Path) -> Graph:
    """Return a workflow in ComfyUI's API format; raises UserError."""
    try:
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: {os.strerror(error.errno or 0)}; --workflow names a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: is no JSON: {error}") from error
    if isinstance(value, dict) and isinstance(value.get("nodes"), list):
        raise UserError(f"{file}: is what ComfyUI's page saves for itself; export it there as Export (API)")
    graph = value.get("prompt", value) if isinstance(value, dict) else value
    if not isinstance(graph, dict) or not graph or not all(map(_is_node, graph.values())):
        raise UserError(f"{file}: is no workflow in API format: an object of nodes, each with class_type and inputs")
    return graph


def renewed(graph: Graph, seed: int) -> Graph:
    """Return a graph with its seeds drawn anew: else ComfyUI would answer from its cache, in no time at all."""
    return {name: {**node, "inputs": _reseeded(node["inputs"], seed)} for name, node in graph.items()}


def _reseeded(inputs: dict[str, Any], seed: int) -> dict[str, Any]:
    return {name: seed if name in SEEDS and type(value) is int else value for name, value in inputs.items()}


def _is_node(node: object) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
