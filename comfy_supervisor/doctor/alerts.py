"""Whether whoever is to be told of what goes wrong can be told."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from ..notify.receivers import MISSING
from . import finding
from .finding import Finding
from .patient import Patient


def apprise(patient: Patient) -> Iterator[Finding]:
    """Tell whether apprise is there, where ``notify.urls`` are its."""
    if not patient.loaded.settings.notify.urls:
        return
    if importlib.util.find_spec("apprise"):
        yield finding.ok("alerts", "apprise is installed, for notify.urls", "installed")
    else:
        trouble, _, mend = MISSING.partition(": ")
        yield finding.problem("alerts", f"notify.urls is set, and {trouble}: nobody is told", "installed", mend)
