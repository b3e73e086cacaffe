"""What several checks look at, gathered once; whatever can't be had is the exception that says why."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
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

_MEANS_A_USER = re.compile(
    r"comfyui\.user\b|comfyui = |did you mean comfyui\?|: comfyui\.\S+ = .*: unknown key; README"
)
"""In a complaint about what may have been meant to be comfyui.user."""

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
    runner: Attempt[Account | None]
    """Whom ComfyUI runs as; None: as who asks. Without an answer nothing of ComfyUI's may be executed."""
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
    def asked(self) -> Installation | None:
        """The ComfyUI whose interpreter may be asked: none, where it isn't known as whom."""
        return None if isinstance(self.runner, Exception) else self.installed_here

    @property
    def account(self) -> Account | None:
        """Whom ComfyUI runs as, where that is not who asks; without a plan as well, which may fail for its sake."""
        return self.runner if isinstance(self.runner, Account) else None


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
    runner = attempt(_runner, loaded, complaints, here)
    accepted = None if isinstance(installation, Exception) else _accepted(loaded, installation, runner)
    return Patient(
        loaded=loaded,
        complaints=complaints,
        environ=environ,
        machine=here,
        places=places,
        report=report,
        installation=installation,
        runner=runner,
        accepted=accepted,
        plan=_plan(loaded, here, report, installation, accepted),
        standin_kept=standin_kept,
    )


def _runner(loaded: Loaded, complaints: Sequence[str], here: Machine) -> Account | None:
    """Return whom ComfyUI runs as, if not as who asks; raises UserError where root can't tell.

    What an account may have been meant to execute, root does not: others may have written it.
    """
    wanted = loaded.settings.comfyui.user
    if not here.root or wanted == here.me.name:
        return None
    if wanted:
        return machine.account(wanted)
    unread = loaded.file is None and any(not line.startswith("environment variable") for line in complaints)
    if unread or any(map(_MEANS_A_USER.search, complaints)):
        raise UserError(
            "ComfyUI's interpreter is not asked as root, since the settings may mean another account; mend those first"
        )
    return None


def _accepted(loaded: Loaded, installation: Installation, runner: Attempt[Account | None]) -> Attempt[CommandLine]:
    """Return the options that ComfyUI knows; its interpreter is asked only as whoever it runs as."""
    return runner if isinstance(runner, Exception) else attempt(plan.accepted, loaded, installation)


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
