"""The requests about the server itself: ``/system_stats``, ``/object_info``, and a page that says what this is."""

from __future__ import annotations

import os
import sys
from typing import Any

import psutil
from aiohttp import web

from comfy_supervisor.standin.configuration import Configuration
from comfy_supervisor.standin.node_types import NodeType
from comfy_supervisor.standin.notice import NOTICE
from comfy_supervisor.standin.release import (
    DEPLOY_ENVIRONMENT,
    INTERMEDIATE_OUTPUT,
    IS_INPUT_LIST,
    PACKAGE_VERSIONS,
    SEARCH_ALIASES,
    SYSTEM_NAME,
    Release,
    Since,
)
from comfy_supervisor.standin.state import STANDIN

_PRETENDED_VRAM = 24 * 1024**3
"""Bytes."""


async def get_page(_request: web.Request) -> web.Response:
    """Tell whoever opens the address in a browser."""
    return web.Response(text=f"<!doctype html><title>Stand-in</title><h1>{NOTICE}</h1>", content_type="text/html")


async def get_system_stats(request: web.Request) -> web.Response:
    """Describe the machine: truly, but for the GPU."""
    configuration = request.app[STANDIN].configuration
    return web.json_response({"system": _system(configuration), "devices": [_device(cpu=configuration.cpu)]})


def _system(configuration: Configuration) -> dict[str, Any]:
    release, memory = configuration.release, psutil.virtual_memory()
    system = {
        "os": sys.platform if release.has(SYSTEM_NAME) else os.name,
        "ram_total": memory.total,
        "ram_free": memory.available,
        "comfyui_version": release.version,
        "required_frontend_version": "0.0.0",
        "installed_templates_version": "0.0.0",
        "required_templates_version": "0.0.0",
        "python_version": sys.version,
        "pytorch_version": "none (stand-in)",
        "embedded_python": False,
        "argv": list(configuration.argv),
    }
    if release.has(PACKAGE_VERSIONS):
        system["comfy_package_versions"] = []
    if release.has(DEPLOY_ENVIRONMENT):
        system["deploy_environment"] = "local-git"
    return system


def _device(*, cpu: bool) -> dict[str, Any]:
    memory = psutil.virtual_memory()
    total, free = (memory.total, memory.available) if cpu else (_PRETENDED_VRAM, _PRETENDED_VRAM)
    return {
        "name": "cpu" if cpu else "cuda:0 Stand-in (no GPU is used) : native",
        "type": "cpu" if cpu else "cuda",
        "index": None if cpu else 0,
        "vram_total": total,
        "vram_free": free,
        "torch_vram_total": total if cpu else 0,
        "torch_vram_free": free if cpu else 0,
    }


async def get_object_info(request: web.Request) -> web.Response:
    """Describe every class of nodes, or the one named; an unknown one is ``{}``."""
    standin, name = request.app[STANDIN], request.match_info.get("name")
    release = standin.configuration.release
    return web.json_response(
        {key: _describe(value, release) for key, value in standin.types.items() if name in {None, key}}
    )


def _describe(node_type: NodeType, release: Release) -> dict[str, Any]:
    """Describe one class of nodes with the fields that the release has."""
    info: dict[str, Any] = {
        "input": node_type.inputs,
        "input_order": {kind: list(inputs) for kind, inputs in node_type.inputs.items()},
        "output": node_type.returns,
        "output_is_list": [False] * len(node_type.returns),
        "output_name": node_type.return_names or node_type.returns,
        "name": node_type.name,
        "display_name": node_type.display_name,
        "description": node_type.description,
        "python_module": "nodes",
        "category": node_type.category,
        "output_node": node_type.is_output,
    }
    additions: tuple[tuple[str, Since, object], ...] = (
        ("is_input_list", IS_INPUT_LIST, False),
        ("has_intermediate_output", INTERMEDIATE_OUTPUT, False),
        ("search_aliases", SEARCH_ALIASES, list(node_type.aliases)),
    )
    if node_type.is_remote:
        info["api_node"] = True
    return info | {key: value for key, since, value in additions if release.has(since)}


ROUTES = (
    web.get("/", get_page),
    web.get("/system_stats", get_system_stats),
    web.get("/object_info", get_object_info),
    web.get("/object_info/{name}", get_object_info),
)
