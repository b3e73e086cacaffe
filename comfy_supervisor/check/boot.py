"""Whether something starts supervisord when the machine does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .. import machine, presence
from ..launch.lastword import cut
from ..service import UNIT
from .line import Line, fails, holds, unknown

ITEM = "boot"
INSTALL = "sudo comfy-supervisor service install"
_DEADLINE = 10.0
"""Seconds for systemctl."""
_LONGEST = 60
"""Characters of process 1's command line that are quoted."""
_STARTS = frozenset({"enabled", "alias", "generated"})
"""systemctl's words for a unit that boot starts; ``enabled-runtime`` is forgotten at the next one."""
_OTHERS_START = frozenset({"static", "indirect"})
"""Its words for a unit that has no say in it itself."""
_OURS = re.compile(r"supervisord|comfy[-_]supervisor")
_CGROUP = re.compile(r"^(?:0::|\d+:name=systemd:)(/.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Unit:
    """A unit of systemd's."""

    name: str
    user: bool = False
    """A user's own, which systemd starts at boot only with lingering."""


@dataclass(frozen=True)
class Boot:
    """What is known of how supervisord was started, and will be."""

    pid: int | None
    """Its process; None: none runs."""
    runner: Unit | None
    """The unit that it runs in; None: none, or it can't be told."""
    asked: Unit
    """The unit that systemd was asked about."""
    word: str
    """systemctl's for that; empty: there is no such unit, or no systemd."""
    first: str
    """The command line of process 1; empty: can't be read."""
    account: str
    lingers: bool
    """Whether systemd runs that account's own units from boot on."""


def look(pid: int | None) -> Boot:
    """Look at supervisord's process, None if none runs, and ask systemd."""
    runner = None if pid is None else runner_of(pid)
    words = {each: _word(each) for each in ((runner,) if runner else (Unit(UNIT), Unit(UNIT, user=True)))}
    asked = next((each for each, word in words.items() if word), next(iter(words)))
    first = _read(Path("/proc/1/cmdline")).replace("\0", " ").strip()
    here = machine.look()
    return Boot(pid, runner, asked, words[asked], first, here.me.name, here.lingering)


def runner_of(pid: int) -> Unit | None:
    """Return the unit that a process runs in; None as `unit` has it."""
    return unit(_read(Path(f"/proc/{pid}/cgroup")))


def unit(cgroup: str) -> Unit | None:
    """Return the unit that a process belongs to, by its ``/proc/PID/cgroup``; None: a session, a container, or none."""
    for found in _CGROUP.finditer(cgroup):
        parts = found[1].split("/")
        if parts[-1].endswith(".service") and not parts[-1].startswith("user@"):
            return Unit(parts[-1], user=any(part.startswith("user@") for part in parts[:-1]))
    return None


def judge(boot: Boot) -> Line:
    """Say whether supervisord starts at boot."""
    figures = {"unit": boot.asked.name, "user": boot.asked.user, "is_enabled": boot.word, "supervisord": boot.pid}
    if boot.word in _STARTS:
        return _enabled(boot, figures)
    if boot.word in _OTHERS_START:
        found = f"{boot.asked.name} is {boot.word}: whether another unit pulls it in can't be told"
        return unknown(ITEM, found, f"systemctl list-dependencies --reverse {boot.asked.name}", figures=figures)
    if boot.runner is None and _OURS.search(boot.first):
        found = (
            f"it is what this container runs ({cut(boot.first, _LONGEST)}): whether boot starts that, its engine knows"
        )
        return unknown(
            ITEM, found, "docker inspect -f '{{.HostConfig.RestartPolicy.Name}}', or the like", figures=figures
        )
    if boot.runner and not boot.word:
        found = f"it runs in {boot.runner.name}, of which systemd does not say whether it is enabled"
        return unknown(
            ITEM, found, f"systemctl{' --user' * boot.runner.user} is-enabled {boot.runner.name}", figures=figures
        )
    if boot.word:
        option = " --user" * boot.asked.user
        mend = f"systemctl{option} enable {boot.asked.name}, or {INSTALL}"
        return fails(ITEM, f"{boot.asked.name} is {boot.word}", mend, figures=figures)
    return fails(ITEM, "nothing that can be seen from here starts it at boot", INSTALL, figures=figures)


def _enabled(boot: Boot, figures: dict[str, object]) -> Line:
    """Say the rest of a unit that is enabled: lingering, and who runs now."""
    if boot.asked.user and not boot.lingers:
        found = f"{boot.asked.name} is {boot.account}'s own, and starts at that account's first login only"
        return fails(ITEM, found, f"sudo loginctl enable-linger {boot.account}", figures=figures)
    if boot.runner:
        return holds(ITEM, f"{boot.asked.name} is {boot.word}, and runs it (pid {boot.pid})", figures=figures)
    now = "nothing runs now" if boot.pid is None else f"what runs now (pid {boot.pid}) was started otherwise"
    found = f"{boot.asked.name} is {boot.word}; {now}"
    return holds(
        ITEM, found, f"comfy-supervisor down, then {presence.service_start(user=boot.asked.user)}", figures=figures
    )


def _word(asked: Unit) -> str:
    """Return systemctl's word for a unit; empty if it knows none, or isn't here."""
    systemctl = shutil.which("systemctl")
    if not systemctl:
        return ""
    argv = [systemctl, *(["--user"] if asked.user else []), "is-enabled", asked.name]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_DEADLINE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    word = done.stdout.strip()
    return "" if word == "not-found" else word


def _read(file: Path) -> str:
    try:
        return os.fsdecode(file.read_bytes())
    except OSError:
        return ""
