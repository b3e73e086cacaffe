"""comfy-supervisor's eyes and memory within ComfyUI: no nodes, only what keeps jobs from being lost.

Loaded by ComfyUI as a package of custom nodes; standard library only. Anywhere else, importing it does nothing.
"""

from .bridge import start as _start

NODE_CLASS_MAPPINGS: dict[str, type] = {}

_start()
