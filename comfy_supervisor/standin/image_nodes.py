"""The nodes of ComfyUI that the stand-in has, with its names, inputs and limits; pictures of one colour."""

from __future__ import annotations

import json
import random
import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_supervisor.standin.node_types import NodeType, Result, Run
from comfy_supervisor.standin.png_writer import png
from comfy_supervisor.standin.release import SAVED_IMAGES_GO_ON, Release

_WIDEST = 16384
_HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


@dataclass(frozen=True)
class Images:
    """A batch of pictures of one colour."""

    width: int
    height: int
    count: int
    colour: int


def image_nodes(release: Release) -> list[NodeType]:
    """Return EmptyImage, SaveImage and PreviewImage as the release has them."""
    hands_on = release.has(SAVED_IMAGES_GO_ON)
    returns, names = (("IMAGE",), ("images",)) if hands_on else ((), ())
    return [
        NodeType("EmptyImage", "Empty Image", _make, {"required": _size_inputs()}, returns=("IMAGE",)),
        NodeType(
            "SaveImage",
            "Save Image",
            _save,
            {
                "required": {"images": ("IMAGE", {}), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
                "hidden": _HIDDEN,
            },
            returns=returns,
            return_names=names,
            is_output=True,
            description="Writes pictures of one colour to the output folder.",
        ),
        NodeType(
            "PreviewImage",
            "Preview Image",
            _preview,
            {"required": {"images": ("IMAGE",)}, "hidden": _HIDDEN},
            returns=returns,
            return_names=names,
            is_output=True,
            description="Writes pictures of one colour to the temp folder.",
        ),
    ]


def _size_inputs() -> dict[str, Any]:
    side = {"default": 512, "min": 1, "max": _WIDEST, "step": 1}
    return {
        "width": ("INT", side),
        "height": ("INT", side),
        "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
        "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
    }


def _make(_run: Run, inputs: dict[str, Any]) -> Result:
    return Result((Images(inputs["width"], inputs["height"], inputs["batch_size"], inputs["color"]),))


def _save(run: Run, inputs: dict[str, Any]) -> Result:
    return _write(run, inputs["images"], run.folders.output, "output", inputs["filename_prefix"])


def _preview(run: Run, inputs: dict[str, Any]) -> Result:
    unique = "".join(random.choices(string.ascii_lowercase, k=5))  # noqa: S311  # a file's name, no secret
    return _write(run, inputs["images"], run.folders.temp, "temp", f"ComfyUI_temp_{unique}")


def _write(run: Run, images: Images, root: Path, kind: str, prefix: str) -> Result:
    """Write the pictures as ``<prefix>_00001_.png`` and so on; a prefix may name a folder below `root`."""
    folder = (root / prefix).resolve().parent
    if not folder.is_relative_to(root.resolve()):
        raise ValueError(f"**** ERROR: Saving image outside the output folder is not allowed: {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    name, first = Path(prefix).name, _next_number(folder, Path(prefix).name)
    files = [f"{name}_{number:05}_.png" for number in range(first, first + images.count)]
    texts = {"prompt": json.dumps(run.prompt)}
    for file in files:
        run.control.checkpoint()
        (folder / file).write_bytes(png(images.width, images.height, images.colour, texts))
    subfolder = "" if folder == root.resolve() else str(folder.relative_to(root.resolve()))
    shown = [{"filename": file, "subfolder": subfolder, "type": kind} for file in files]
    return Result((images,), {"images": shown})


def _next_number(folder: Path, name: str) -> int:
    """Return the number after the highest; like ComfyUI's, two processes in one folder get the same."""
    taken = re.compile(re.escape(name) + r"_(\d+)_?.*", re.IGNORECASE)
    found = (taken.fullmatch(path.name) for path in folder.iterdir())
    return max((int(match[1]) for match in found if match), default=0) + 1
