"""How far the running job is."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

_MOST_CLASSES = 200


@dataclass(frozen=True)
class Point:
    """Where the worker stands."""

    prompt_id: str = ""
    node: str = ""
    class_type: str = ""
    step: float = 0.0
    total: float = 0.0


@dataclass
class Progress:
    """The last step that was seen, by whichever thread."""

    point: Point = Point()
    at: float = 0.0
    """When it moved last, CLOCK_MONOTONIC; 0: never."""
    worker: threading.Thread | None = None
    """ComfyUI's, once it has asked for work."""
    classes: tuple[str, ...] = ()
    """Those of the nodes that the running job has begun, each once; several may be under way at a time."""
    _steps: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By node, of the running job."""

    @property
    def worker_state(self) -> str:
        """``unseen``, ``alive`` or ``dead``."""
        if self.worker is None:
            return "unseen"
        return "alive" if self.worker.is_alive() else "dead"

    def job(self, prompt_id: str) -> None:
        """Note which job the worker has begun; empty: it has ended its last."""
        self._steps.clear()
        self.classes = ()
        self._move(Point(prompt_id))

    def node(self, node: str, class_type: str) -> None:
        """Note which node the worker has begun."""
        if class_type not in self.classes and len(self.classes) < _MOST_CLASSES:
            self.classes = (*self.classes, class_type)
        self._move(Point(self.point.prompt_id, node, class_type))

    def event(self, name: str, data: Any) -> None:
        """Note what ComfyUI tells its clients, as far as it is progress."""
        if name == "progress":
            self._step(str(data.get("node") or self.point.node), data["value"], data["max"])
        elif name == "progress_state":
            for node, state in data["nodes"].items():
                if state["state"] == "running":
                    self._step(node, state["value"], state["max"])

    def _step(self, node: str, value: float, most: float) -> None:
        """Note a step; the same one told again is none."""
        if self._steps.get(node) != (value, most):
            self._steps[node] = (value, most)
            point = self.point
            class_type = point.class_type if node == point.node else ""
            self._move(Point(point.prompt_id, node, class_type, float(value), float(most)))

    def _move(self, point: Point) -> None:
        self.point, self.at = point, time.monotonic()
