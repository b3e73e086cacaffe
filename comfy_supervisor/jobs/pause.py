"""An operator's pause: a file in an instance's run folder, beside which ComfyUI's extension begins no further job."""

from __future__ import annotations

import os

from ..extension.comfy_supervisor_bridge.gate import PAUSE
from ..launch import records


def ordered(run: str) -> bool:
    """Tell whether there is one."""
    return os.path.lexists(_file(run))


def begin(run: str, at: float) -> None:
    """Have no further job begun from now on (seconds since the epoch); raises OSError."""
    records.write(_file(run), {"v": 1, "since": at})


def end(run: str) -> None:
    """Have jobs begun again."""
    records.remove(_file(run))


def _file(run: str) -> str:
    return f"{run}/{PAUSE}"
