"""Graphs as clients send them: who depends on whom, and what is the same."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfy_supervisor.standin.node_types import NodeType

Prompt = dict[str, Any]
"""By node id: ``{"class_type": NAME, "inputs": {name: value or link}}``."""

_LINK_LENGTH = 2


@dataclass(frozen=True)
class DynamicPrompt:
    """A job's graph, as extensions are given it; the stand-in's don't grow while they run."""

    prompt: Prompt

    def get_node(self, node_id: str) -> dict[str, Any]:
        """Return a node: ``class_type`` and ``inputs``."""
        node: dict[str, Any] = self.prompt[node_id]
        return node


def is_link(value: object) -> bool:
    """Tell whether an input's value is another node's output: ``["4", 0]``."""
    return isinstance(value, list) and len(value) == _LINK_LENGTH and isinstance(value[0], str)


def execution_order(prompt: Prompt, outputs: Sequence[str]) -> list[str]:
    """Return the nodes that `outputs` depend on, each after those that it depends on itself."""
    ordered: dict[str, None] = {}

    def visit(node_id: str) -> None:
        for value in prompt[node_id]["inputs"].values():
            if is_link(value) and value[0] in prompt and value[0] not in ordered:
                visit(value[0])
        ordered[node_id] = None

    for node_id in outputs:
        visit(node_id)
    return list(ordered)


def cache_keys(prompt: Prompt, types: Mapping[str, NodeType]) -> dict[str, Hashable]:
    """Return for each node what its result depends on; nodes of the same key do the same.

    A node that has to run each time gets a key of its own, and so does all that depends on it.
    """
    keys: dict[str, Hashable] = {}

    def key(node_id: str) -> Hashable:
        if node_id not in keys:
            node = prompt[node_id]
            once = object() if types[node["class_type"]].is_volatile else None
            inputs = tuple((name, part(value)) for name, value in sorted(node["inputs"].items()))
            keys[node_id] = (node["class_type"], once, inputs)
        return keys[node_id]

    def part(value: Any) -> Hashable:
        return (key(value[0]), value[1]) if is_link(value) else json.dumps(value)

    for node_id in prompt:
        try:
            key(node_id)
        except (KeyError, RecursionError):  # a node that no output needs may be anything
            keys[node_id] = object()
    return keys
