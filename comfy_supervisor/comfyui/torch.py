"""What the torch of ComfyUI's interpreter can do; torch is imported there, never here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..model import Account, Installation
from .interpreter import LESS, NoAnswerError, ask, home_of

_SCRIPT = Path(__file__).with_name("ask_torch.py")


@dataclass(frozen=True)
class TorchFacts:
    """Python and torch of an interpreter; what could not be learnt is empty, and `error` says why."""

    python: str = ""
    """``3.11.7``; empty if the interpreter does not run."""
    torch: str = ""
    """``2.8.0+cu128``; empty if torch is not there or cannot be imported."""
    cuda: str = ""
    """The CUDA that torch was built with, ``12.8``; empty for a build without CUDA."""
    cuda_available: bool = False
    """Whether torch can compute on a GPU here and now."""
    device_count: int = 0
    device_names: tuple[str, ...] = ()
    """In CUDA's order: fastest first, unless CUDA_DEVICE_ORDER says PCI_BUS_ID."""
    arch_list: tuple[str, ...] = ()
    """The GPU architectures that torch was built for, ``sm_90``; may be empty where CUDA isn't available."""
    error: str = ""
    """What went wrong, in one line: torch's own exception or warning, or the interpreter's trouble."""


def torch_facts(
    installation: Installation,
    *,
    deadline: float = 60.0,
    environment: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> TorchFacts:
    """Ask ComfyUI's interpreter about its torch, within `deadline` seconds; never raises.

    `environment` (CUDA_VISIBLE_DEVICES, …) is added to our own; `account` is whom ComfyUI runs as, if not as
    ourselves. Importing torch takes seconds, and with a
    GPU at hand some hundred MiB of its memory until the answer is there.
    """
    together = {**os.environ, **home_of(account), **(environment or {})}
    try:
        facts = ask(
            installation.python, _SCRIPT, None, TorchFacts, deadline=deadline, environment=together, account=account
        )
    except NoAnswerError as error:
        return TorchFacts(error=f"{installation.python}: {error}")
    if not facts.python:
        return TorchFacts(error=f"{installation.python}: {LESS}")
    return replace(facts, error=" ".join(facts.error.split()))
