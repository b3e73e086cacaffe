"""Puts the parts together within ComfyUI."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from . import hooks, life, stacks, store
from .gate import Gate
from .guard import guarded, say
from .heartbeat import Heart
from .hooks import Hooks
from .journal import Journal
from .progress import Progress


def start() -> None:
    """Begin, if this is a ComfyUI that comfy-supervisor runs; nothing here can fail."""
    guarded("extension", lambda: _start(os.environ, sys.modules))


def _start(environment: Mapping[str, str], modules: Mapping[str, ModuleType]) -> None:
    folders = environment.get("COMFY_SUPERVISOR_STATE"), environment.get("COMFY_SUPERVISOR_RUN")
    comfyui: list[Any] = [modules.get(name) for name in ("server", "execution", "nodes")]
    if not all(folders) or not all(comfyui):
        return
    state, run = map(str, folders)
    server, execution, nodes = comfyui
    me = life.this_one()
    instance = server.PromptServer.instance
    journal = Journal(f"{state}/{store.NAME}", me, say, getattr(execution, "SENSITIVE_EXTRA_DATA_KEYS", ()))
    bridge = Hooks(journal, Progress(), Gate(run), instance.prompt_queue, instance.loop)
    hooks.install(bridge, server, execution, nodes)
    guarded("journal", bridge.take_stock)
    stack_signal = guarded("stacks", lambda: stacks.listen(run)) or ""
    Heart(run, me, bridge, instance.loop, stack_signal).start()
