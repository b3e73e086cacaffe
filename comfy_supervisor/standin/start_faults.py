"""What the stand-in can be told to do wrong when it starts: ``$STANDIN_START``, as in ``slow:20,ignore_sigint``."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping

_log = logging.getLogger(__name__)

_FOR_EVER = float("inf")


def slow(seconds: float = _FOR_EVER) -> None:
    """Take `seconds` longer to start, with the log moving."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _log.info("Importing a custom node (stand-in: %.1f s to go)", left)
        time.sleep(min(0.5, left))


def silent(seconds: float = _FOR_EVER) -> None:
    """Take `seconds` longer to start, without a word."""
    threading.Event().wait(None if seconds == _FOR_EVER else seconds)


def end(code: float = 1) -> None:
    """End with an exit code instead of starting."""
    sys.exit(int(code))


def end_after(seconds: float = 5.0) -> None:
    """End with exit code 1 `seconds` later, whatever is going on by then."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()


def abort(_value: float = 0) -> None:
    """End by SIGABRT."""
    os.abort()


def missing_module(_value: float = 0) -> None:
    """End by the exception of an import that fails, as where ComfyUI's requirements are not installed."""
    raise ModuleNotFoundError("No module named 'einops'", name="einops")


def ignore_sigint(_value: float = 0) -> None:
    """SIGINT has no effect."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def cpu_fallback(_value: float = 0) -> None:
    """Report the CPU as the device although no ``--cpu`` was given; seen to by `falls_back_to_cpu`."""


FAULTS: Mapping[str, Callable[..., None]] = {
    fault.__name__: fault
    for fault in (slow, silent, end, end_after, abort, missing_module, ignore_sigint, cpu_fallback)
}


def trouble(orders: str) -> str:
    """Return what is wrong with the orders; empty if nothing is."""
    unknown = [name for name, _ in _parsed(orders) if name not in FAULTS]
    return f'STANDIN_START="{orders}": {unknown[0]} is none of {", ".join(FAULTS)}' if unknown else ""


def apply(orders: str) -> None:
    """Do what was ordered: names separated by commas, each with a number after a colon where it takes one."""
    for name, value in _parsed(orders):
        FAULTS[name](*([float(value)] if value else []))


def falls_back_to_cpu(orders: str) -> bool:
    """Tell whether the CPU is to be reported where a GPU was meant."""
    return cpu_fallback.__name__ in dict(_parsed(orders))


def _parsed(orders: str) -> list[tuple[str, str]]:
    words = (word.strip().partition(":") for word in orders.split(",") if word.strip())
    return [(name, value) for name, _, value in words]
