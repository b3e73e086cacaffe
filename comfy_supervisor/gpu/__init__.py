"""The machine's NVIDIA GPUs, as NVML knows them: what there is, and what it is doing.

NVML is only ever called in a helper process with a deadline; importing this package calls nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..model import Driver, GpuReport, GpuUse
from . import offbus
from .helper import NoAnswerError, ask
from .pci import THIS_MACHINES, devices_folder, nvidia_gpus
from .report import report, uses

_Read = TypeVar("_Read")


def detect(*, deadline: float = 10.0, pci: Path | None = None, root: Path | None = None) -> GpuReport:
    """Return this machine's GPUs and the state of its driver; raises nothing.

    Takes at most ``deadline`` seconds, and half a second more if NVML hangs. ``pci`` is the folder of PCI
    devices, by default /sys/bus/pci/devices, or what COMFY_SUPERVISOR_PCI_DEVICES names (for tests and odd
    machines). A GPU that shares the machine's memory (GB10, Jetson) is given all of it as its own. ``root`` has
    the dev and proc that tell of GPUs beside that bus, by default /, and none where another bus was named.
    """
    folder = pci or devices_folder()
    hardware = nvidia_gpus(folder)
    try:
        found = _ask("detect", deadline, lambda answer: report(answer, hardware))
    except NoAnswerError as trouble:
        return GpuReport(trouble.driver, trouble.text)
    own = root or (Path("/") if folder == THIS_MACHINES else None)
    text = offbus.trouble(own) if own and found.driver is Driver.NO_HARDWARE else ""
    return replace(found, driver=Driver.BROKEN, text=text) if text else found


def use(*, deadline: float = 5.0) -> Mapping[str, GpuUse]:
    """Return what each GPU and MIG instance is doing, by UUID; empty if NVML can't tell within ``deadline`` seconds.

    Memory is in MiB, the driver's own share included. A GPU that can't be reached is left out.
    """
    try:
        return _ask("use", deadline, uses)
    except NoAnswerError:
        return {}


def _ask(question: str, deadline: float, read: Callable[[Mapping[str, Any]], _Read]) -> _Read:
    """Return the helper's answer as ``read`` understands it; raises NoAnswerError."""
    answer = ask(question, deadline)
    try:
        return read(answer)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # An upgrade under a running process: the helper on disk is newer than the code in memory.
        text = "the NVML helper on disk is of another release than this process: start it anew"
        raise NoAnswerError(Driver.BROKEN, text) from error
