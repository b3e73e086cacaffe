"""ComfyUI, the packages that it needs, and the Python that runs it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..comfyui import find
from ..comfyui.interpreter import NoAnswerError, ask, home_of
from ..comfyui.releases import numbers
from ..fallback import KEPT
from ..model import Account, Installation
from . import finding
from .finding import Finding, Verdict
from .patient import Patient

_SCRIPT = Path(__file__).with_name("ask_packages.py")
_OPTIONAL = re.compile(r"#\s*non essential.*", re.IGNORECASE)
"""The comment in ComfyUI's requirements.txt behind which stands what it can do without."""
_TOLERATED = frozenset({"comfyui-workflow-templates", "comfyui-embedded-docs", "alembic", "simpleeval", "blake3"})
"""Without these ComfyUI starts, and lacks templates, help, its database or some nodes; without any other it ends.

Seen on 0.3.64 and 0.33.0, started with each requirement in turn made impossible to import; 0.3.64 does without
SQLAlchemy, too.
"""
_ONCE_TOLERATED = {"torchaudio": (0, 16, 0)}
"""What ComfyUI did without up to a release: 0.3.64, 0.4.0 and 0.16.0 lack some nodes then, and 0.33.0 ends."""
_NEEDED_BY = {"--use-sage-attention": "sageattention", "--use-flash-attention": "flash_attn"}
"""Options with which ComfyUI exits at its start if a module is missing (comfy/ldm/modules/attention.py)."""


def comfyui(patient: Patient) -> Iterator[Finding]:
    """Tell which ComfyUI is meant, and whether its command line can be read."""
    found, wanted = patient.installation, patient.loaded.settings.comfyui
    if isinstance(found, Exception):
        yield from finding.failure("comfyui", found)
    elif wanted.version:
        yield finding.warning(
            "comfyui",
            f'comfyui.version = "{wanted.version}" means another machine: what is installed here was not looked at',
            "the ComfyUI of this machine",
            "remove comfyui.version, unless this is only to render for another machine",
        )
    elif patient.standin_kept:
        yield finding.stated("comfyui", Verdict.WARNING, KEPT)
    elif find.is_standin(found.directory):
        mend = "set comfyui.directory to ComfyUI's folder"
        yield finding.warning("comfyui", "the stand-in, which generates no images", "ComfyUI", mend)
    else:
        yield finding.ok("comfyui", f"{found.version or 'of unknown version'}, in {found.directory}")
    if isinstance(patient.accepted, Exception):
        yield from finding.failure("comfyui", patient.accepted)


def packages(patient: Patient) -> Iterator[Finding]:
    """Tell which packages ComfyUI's interpreter lacks, of its requirements.txt and for the options given."""
    installation = patient.asked
    if installation is None or isinstance(patient.accepted, Exception):
        return
    needed, optional = requirements(installation.directory, installation.version)
    modules = _modules(patient)
    try:
        missing = ask_missing(
            installation.python, [*needed, *optional], list(modules.values()), account=patient.account
        )
    except NoAnswerError as error:
        yield finding.problem("packages", f"{installation.python}: {error}", "an interpreter that works")
        return
    yield from judge(installation, needed, optional, modules, missing)


def judge(
    installation: Installation,
    needed: Sequence[str],
    optional: Sequence[str],
    modules: dict[str, str],
    missing: frozenset[str],
) -> Iterator[Finding]:
    """Tell what it means that packages and modules are missing."""
    file = installation.directory / "requirements.txt"
    mend = f"{installation.python} -m pip install -r {file}"
    wanted = f"all of {file}"
    lacking = [name for name in needed if name in missing]
    wished = [name for name in optional if name in missing]
    if lacking:
        yield finding.problem("packages", f"missing: {', '.join(lacking)}", wanted, mend)
    if wished:
        yield finding.warning("packages", f"missing: {', '.join(wished)}", wanted, mend)
    for option, module in modules.items():
        if module in missing:
            mend = f"install it into {installation.python}, or remove {option} from comfyui.extra_args"
            yield finding.problem("packages", f"{option} is given, and {module} is missing", module, mend)
    if not missing:
        yield finding.ok("packages", f"all {len(needed) + len(optional)} requirements are installed", wanted)


def requirements(directory: Path, version: str = "") -> tuple[list[str], list[str]]:
    """Return the names in ComfyUI's requirements.txt: what this version of it can't do without, and the rest.

    torch is left to a check of its own.
    """
    try:
        text = (directory / "requirements.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [], []
    essential, *others = _OPTIONAL.split(text, maxsplit=1)
    needed = [name for name in _names(essential) if name != "torch"]
    tolerated = [name for name in needed if name in _TOLERATED or _is_tolerated_by(version, name)]
    return [name for name in needed if name not in tolerated], [*tolerated, *_names("".join(others))]


def _is_tolerated_by(version: str, name: str) -> bool:
    """Tell whether a release is so old that it did without a package; an unknown one counts as a new one."""
    known = numbers(version)
    return bool(known) and known <= _ONCE_TOLERATED.get(name, ())


def _names(text: str) -> list[str]:
    """Return the names of the packages that a requirements file asks for on every platform."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    found = (re.match(r"[A-Za-z0-9][\w.-]*", line) for line in lines if ";" not in line)
    return [match[0] for match in found if match]


def _modules(patient: Patient) -> dict[str, str]:
    """Return the modules that options need, by option."""
    made = patient.known_plan
    given = {flag.option for invocation in (made.invocations if made else ()) for flag in invocation.flags}
    return {option: module for option, module in _NEEDED_BY.items() if option in given}


@dataclass(frozen=True)
class _Answer:
    missing: tuple[str, ...]


def ask_missing(
    python: Path,
    names: Sequence[str],
    modules: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> frozenset[str]:
    """Return which packages and modules an interpreter lacks; raises NoAnswerError.

    ``environment`` is added to ours; ``account`` is whom ComfyUI runs as, if not as ourselves.
    """
    question = {"packages": list(names), "modules": list(modules)}
    together = {**os.environ, **home_of(account), **(environment or {})}
    answer = ask(python, _SCRIPT, question, _Answer, deadline=20.0, environment=together, account=account)
    return frozenset(answer.missing)
