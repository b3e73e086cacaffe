"""The launcher: what supervisord starts in ComfyUI's place, and what becomes ComfyUI when the way is clear.

It runs at every start of every instance, so it imports the standard library alone and little of it: on its
plain path neither ``typing`` and ``dataclasses`` nor ``pathlib`` and ``subprocess``.
"""
