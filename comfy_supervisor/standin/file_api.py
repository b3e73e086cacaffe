"""The requests about files: ``/upload/image`` and ``/view``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from aiohttp import web

from comfy_supervisor.standin.configuration import Folders
from comfy_supervisor.standin.state import STANDIN


async def post_image(request: web.Request) -> web.Response:
    """Store an uploaded file; one of the same name and other content gets ``name (1).png``."""
    folders, form = request.app[STANDIN].configuration.folders, await request.post()
    image = form.get("image")
    if not isinstance(image, web.FileField) or not image.filename:
        return web.Response(status=400)
    named = str(form.get("type") or "input")
    root, subfolder = folders.of_type(named), str(form.get("subfolder", ""))
    if root is None:  # ComfyUI's handler has no answer for other types either
        return web.Response(status=500)
    path = Path(os.path.normpath(root / subfolder / image.filename))
    if not path.is_relative_to(root):
        return web.Response(status=400)
    content = image.file.read()
    if form.get("overwrite") not in {"true", "1"}:
        path = _free_name(path, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return web.json_response({"name": path.name, "subfolder": subfolder, "type": named})


def _free_name(path: Path, content: bytes) -> Path:
    """Return `path`, or the first numbered name that is free or has the same content."""
    free, number = path, 1
    while free.exists() and free.read_bytes() != content:
        free = path.with_name(f"{path.stem} ({number}){path.suffix}")
        number += 1
    return free


async def get_view(request: web.Request) -> web.StreamResponse:
    """Serve a file of the output, input or temp folder; previews are the files themselves."""
    name, root = _annotated(request.query.get("filename"), request.app[STANDIN].configuration.folders)
    if name is None:
        return web.Response(status=404)
    root = root or request.app[STANDIN].configuration.folders.of_type(request.query.get("type", "output"))
    if not name or name.startswith("/") or ".." in name or root is None:
        return web.Response(status=400)
    folder = Path(os.path.normpath(root / request.query.get("subfolder", "")))
    if not folder.is_relative_to(root):
        return web.Response(status=403)
    path = folder / Path(name).name
    if not path.is_file():
        return web.Response(status=404)
    return web.FileResponse(path, headers={"Content-Disposition": f'filename="{path.name}"'})


def _annotated(name: str | None, folders: Folders) -> tuple[str | None, Path | None]:
    """Split ``a.png [input]`` into the name and the folder that it speaks of."""
    if found := re.fullmatch(r"(.*?) ?\[(output|input|temp)\]", name or ""):
        return found[1], folders.of_type(found[2])
    return name, None


ROUTES = (web.post("/upload/image", post_image), web.get("/view", get_view))
