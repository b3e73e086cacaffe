"""All checks, run side by side: the slow ones, torch above all, make nobody wait twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from . import alerts, finding, hardware, installation, network, options, secrecy, service, storage, torch
from .finding import Finding, Verdict
from .patient import Patient, attempt, meet

Check = Callable[[Patient], Iterable[Finding]]

PATIENCE = torch.DEADLINE + 5.0
"""Seconds after which a check is given up, such as one that looks at a network drive that is gone."""


def settings(patient: Patient) -> Iterator[Finding]:
    """Tell where the settings come from, and everything that is wrong with them."""
    loaded = patient.loaded
    yield from (finding.stated("settings", Verdict.PROBLEM, line) for line in patient.complaints)
    if not patient.complaints:
        variables = ", ".join(loaded.variables.values())
        yield finding.ok("settings", loaded.source + (f", and from the environment {variables}" if variables else ""))


CHECKS: Mapping[str, Check] = {
    "versions": service.versions,
    "settings": settings,
    "secret": secrecy.secrets,
    "alerts": alerts.apprise,
    "comfyui": installation.comfyui,
    "python": torch.interpreter,
    "packages": installation.packages,
    "driver": hardware.driver,
    "gpu": hardware.gpus,
    "instance": hardware.instances,
    "flags": options.flags,
    "combination": options.combinations,
    "note": hardware.notes,
    "port": network.taken_ports,
    "folder": storage.folders,
    "access": storage.readable,
    "disk": storage.disk,
    "open-files": service.open_files,
    "socket": service.socket,
    "supervisord": service.supervisord,
    "configuration": service.configuration,
}
"""By the word that a failure of the check itself is told under; in the order of the report."""


def examine(config: str | None) -> list[Finding]:
    """Return what all checks find, in their order. ``config``: the settings file that was named.

    Takes as long as the import of ComfyUI's torch, ``PATIENCE`` at the most. Changes nothing.
    """
    return run(CHECKS, meet(config), PATIENCE)


def run(checks: Mapping[str, Check], patient: Patient, patience: float) -> list[Finding]:
    """Run checks side by side; one that fails, or is not done in time, becomes a problem and costs no other."""
    done: dict[str, list[Finding]] = {}
    threads = [
        threading.Thread(target=_run_one, args=(name, check, patient, done), daemon=True)
        for name, check in checks.items()
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return [one for name in checks for one in done.get(name) or _overdue(name, done, patience)]


def _run_one(name: str, check: Check, patient: Patient, done: dict[str, list[Finding]]) -> None:
    found = attempt(lambda: list(check(patient)))
    done[name] = list(finding.failure(name, found)) if isinstance(found, Exception) else found


def _overdue(name: str, done: Mapping[str, list[Finding]], patience: float) -> list[Finding]:
    if name in done:
        return []
    found = f"no answer within {patience:g} s: a network drive or a device that hangs?"
    return [finding.problem(name, found, "an answer", "look for processes in state D (ps), and at dmesg")]
