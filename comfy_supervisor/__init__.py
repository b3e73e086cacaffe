"""Keeps a headless ComfyUI generating: the right flags, under supervisord, one instance a GPU."""

__version__ = "0.1.0"
