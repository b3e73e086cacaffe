"""No trouble of ours may become ComfyUI's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_log = logging.getLogger("comfy-supervisor")
_troubled: set[str] = set()


def say(text: str) -> None:
    """Write one line to ComfyUI's log."""
    _log.warning("comfy-supervisor: %s", text)


def guarded(what: str, deed: Callable[[], T], failed: Callable[[], None] = lambda: None) -> T | None:
    """Do something of ours; if it fails, say so once, and return None. Whatever it was for is then left out.

    ``failed`` is called each time that it does.
    """
    try:
        return deed()
    except Exception as error:  # noqa: BLE001  # whatever it is, ComfyUI goes on
        failed()
        if what not in _troubled:
            _troubled.add(what)
            say(f"{what}: {type(error).__name__}: {error}: going on without it")
    return None
