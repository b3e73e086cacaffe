"""What several checks look at, gathered once; whatever can't be had is the exception that says why."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeAlias, TypeVar

from .. import fallback, machine, paths, plan
from ..comfyui import find as comfyui
from ..errors import UserError
from ..model import Account, CommandLine, Driver, GpuReport, Installation, Machine
from ..paths import Paths
from ..plan import Plan
from ..settings import Loaded, find, salvage

T = TypeVar("T")
P = ParamSpec("P")
Attempt: TypeAlias = T | Exception


@dataclass(frozen=True)
class Patient:
    """This machine and the settings, as far as they make sense."""

    loaded: Loaded
    complaints: tuple[str, ...]
    """What is wrong with the settings; a wrong one has its default here."""
    environ: Mapping[str, str]
    """What supervisord, started from here, would pass on."""
    machine: Machine
    places: Paths
    report: GpuReport
    installation: Attempt[Installation]
    accepted: Attempt[CommandLine] | None
    """None where there is no installation to ask."""
    plan: Attempt[Plan] | None
    """None where something that it needs is missing; then that is a problem by itself."""
    standin_kept: bool = False
    """Whether the stand-in is only meant because it runs, and no ComfyUI is found."""

    @property
    def known_plan(self) -> Plan | None:
        """The plan, if there is one."""
        return self.plan if isinstance(self.plan, Plan) else None

    @property
    def installed_here(self) -> Installation | None:
        """The ComfyUI of this machine; none for the stand-in, or one on another machine."""
        found = self.installation
        if isinstance(found, Exception) or self.loaded.settings.comfyui.version:
            return None
        return None if comfyui.is_standin(found.directory) else found

    @property
    def account(self) -> Account | None:
        """Whom ComfyUI runs as, where that is not who asks; without a plan as well, which may fail for its sake."""
        wanted = self.loaded.settings.comfyui.user
        if not self.machine.root or wanted in ("", self.machine.me.name):
            return None
        found = attempt(machine.account, wanted)
        return found if isinstance(found, Account) else None


def meet(config: str | None, environ: Mapping[str, str] | None = None) -> Patient:
    """Look at the settings and the machine; raises nothing that a user can mend.

    ``config``: the settings file that was named. Takes as long as NVML and ComfyUI's parser: half a second,
    and 10 s each at the most.
    """
    environ = os.environ if environ is None else environ
    loaded, complaints = read_settings(config, environ)
    here = machine.look()
    places = paths.choose(loaded, here)
    standin_kept = fallback.kept(loaded, places.conf)
    if standin_kept:
        loaded = fallback.with_standin(loaded)
    report = plan.detected(loaded)
    installation = attempt(plan.installed, loaded)
    accepted = None if isinstance(installation, Exception) else attempt(plan.accepted, loaded, installation)
    return Patient(
        loaded=loaded,
        complaints=complaints,
        environ=environ,
        machine=here,
        places=places,
        report=report,
        installation=installation,
        accepted=accepted,
        plan=_plan(loaded, here, report, installation, accepted),
        standin_kept=standin_kept,
    )


def read_settings(config: str | None, environ: Mapping[str, str]) -> tuple[Loaded, tuple[str, ...]]:
    """Return the settings as far as they are valid, and what is wrong with the rest."""
    try:
        return salvage(find(config, environ, Path.cwd()), environ)
    except UserError as error:
        loaded, complaints = salvage(None, environ)
        return loaded, (*error.problems, *complaints)


def attempt(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Attempt[T]:
    """Return what a function returns, or the exception that it raises."""
    try:
        return function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  # a bug in one place must not hide what the others find
        return error


def _plan(
    loaded: Loaded,
    here: Machine,
    report: GpuReport,
    installation: Attempt[Installation],
    accepted: Attempt[CommandLine] | None,
) -> Attempt[Plan] | None:
    if isinstance(installation, Exception) or accepted is None or isinstance(accepted, Exception):
        return None
    if report.driver not in (Driver.OK, Driver.NO_HARDWARE):
        return None
    return attempt(plan.compose, loaded, plan.Facts(here, report, installation, accepted))
