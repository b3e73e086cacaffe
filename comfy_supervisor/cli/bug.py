"""A bug of ours: the traceback goes into a log, one line to the user."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from pathlib import Path

from .. import __version__, machine

NAME = "comfy-supervisor-bug.log"


def report() -> str:
    """Write the exception being handled into a log of ours; return what to tell the user."""
    details = (
        f"comfy-supervisor {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"{' '.join(sys.argv)}\n\n{traceback.format_exc()}"
    )
    line = f"error: this is a bug of comfy-supervisor: {traceback.format_exc().strip().splitlines()[-1]}"
    try:
        return f"{line}\nThe details are in {_keep(details)}; please report it with them."
    except OSError:
        return f"{line}\n{details}"


def _keep(details: str) -> Path:
    folder = machine.look().state_home / "comfy-supervisor"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=".bug-", dir=folder)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(details)
    return Path(name).replace(folder / NAME)
