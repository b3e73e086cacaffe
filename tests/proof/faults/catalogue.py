"""All faults, in the kinds that they are shown in."""

from __future__ import annotations

from . import of_comfyui, of_enemies, of_many, of_us
from .fault import Fault

KINDS: dict[str, tuple[Fault, ...]] = {
    "ComfyUI, its API and its jobs": of_comfyui.FAULTS,
    "supervisord, the listener, files and operators": of_us.FAULTS,
    "GPUs, and several instances": of_many.FAULTS,
    "Thinking like an enemy": of_enemies.FAULTS,
}
ALL = tuple(fault for faults in KINDS.values() for fault in faults)
LISTED, FOUND = range(1, 47), range(47, 67)
"""The numbers of the faults that the policy promises to survive, and of those that were found since."""
