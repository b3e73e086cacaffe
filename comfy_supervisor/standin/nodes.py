"""What extensions find as ``nodes``: of ComfyUI's module of this name, how a running job is interrupted."""

from __future__ import annotations

from comfy_supervisor.standin.control import Control

control = Control()
"""The process's one, as ComfyUI's flag is."""


def interrupt_processing(value: bool = True) -> None:
    """Ask for the running job's end, or take that back.

    To be looked up where it is called: an extension may have put its own in its place.
    """
    control.interrupt(value)
