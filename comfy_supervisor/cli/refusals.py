"""What would keep ComfyUI from running, refused before anything is changed."""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .. import machine, programs
from ..comfyui import find
from ..comfyui.interpreter import NoAnswerError
from ..comfyui.pythons import installing
from ..errors import UserError
from ..launch import orphans, ports
from ..model import Account, Instance
from ..plan import Plan
from ..rendered import Rendered

DYING = 30.0
"""Seconds for which a process that was killed may hold its port: it frees its memory first, and ComfyUI's is large."""
_POLL = 0.1


def addresses(made: Plan, instances: Iterable[Instance]) -> dict[str, str]:
    """Return where instances of a plan will listen, by the names of their programs."""
    listen = made.loaded.settings.comfyui.listen
    return {one.program: programs.addresses(listen, one.port) for one in instances}


def taken_ports(wanted: Mapping[str, str], state: Path) -> None:
    """Raise UserError for each address, by program, whose port a stranger holds.

    ``state``: the folder of our instances. What one of ours holds, the launcher ends, or supervisord stops; a process
    that was killed is waited for, and named only if that takes too long.
    """
    deadline, before = time.monotonic() + DYING, list[tuple[str, str, int]]()
    while strange := _strangers(wanted, state):
        stay = [each for each in strange if not _is_ending(each[2])]
        if (stay and stay == before) or time.monotonic() >= deadline:
            named = stay or strange
            raise UserError(*(f"{program}: {text}; stop that, or set comfyui.port" for program, text, _ in named))
        before = stay  # who ends as we look can't be told from a stranger; the next look tells
        time.sleep(_POLL)


def _is_ending(pid: int) -> bool:
    """Tell whether a process that holds a port has been killed; only root can tell which one that is (0: not known)."""
    return orphans.is_ending(pid) if pid else orphans.are_ending()


def _strangers(wanted: Mapping[str, str], state: Path) -> list[tuple[str, str, int]]:
    """Return the programs whose port somebody else holds, who that is, in words, and that one's pid (0: not known)."""
    found = [
        (program, text, int(pid[1]) if (pid := re.search(r"\(pid (\d+), ", text)) else 0)
        for program, listening in wanted.items()
        for address in ports.addresses(listening)
        if (text := ports.trouble(*address))
    ]
    ours = _ours(state) if found else set()
    return [each for each in found if each[2] not in ours]


def taken_ports_rendered(instances: Iterable[Rendered]) -> None:
    """Raise UserError, as `taken_ports` does, for what is rendered."""
    for one in instances:
        taken_ports({one.program: ",".join(one.addresses)}, one.state.parent)


def other_supervisords(made: Plan) -> None:
    """Raise UserError for each instance that another supervisord runs already."""
    folders = (made.paths.instance_state(one.id) for one in made.instances)
    found = [text for folder in folders if (text := orphans.elsewhere(orphans.marks(str(folder))))]
    if found:
        raise UserError(*found)


def no_torch(made: Plan) -> None:
    """Raise UserError if the interpreter of a plan has no torch."""
    installation, environment = made.facts.installation, made.configuration.programs[0].environment
    _refuse_without_torch(installation.python, installation.directory, environment, made.site.account)


def no_torch_rendered(instances: Sequence[Rendered]) -> None:
    """Raise UserError if the interpreter of what is rendered has no torch; all instances have the same one."""
    for one in [one for one in instances if len(one.command) > 1][:1]:
        python, main = map(Path, one.command[:2])
        _refuse_without_torch(python, main.parent, one.environment, _account(one.uid))


def _account(uid: int | None) -> Account | None:
    """Return whom ComfyUI is run as, if not as ourselves."""
    return None if uid is None or uid == os.geteuid() else machine.account(pwd.getpwuid(uid).pw_name)


def _refuse_without_torch(
    python: Path, directory: Path, environment: Mapping[str, str], account: Account | None
) -> None:
    """Ask the interpreter in ComfyUI's environment; if it gives no answer, that is for others to say."""
    from ..doctor.installation import ask_missing  # noqa: PLC0415  # the doctor's rooms, only where something starts

    if find.is_standin(directory):
        return
    unmarked = {name: text for name, text in environment.items() if name not in orphans.MARKS}
    try:
        lacking = ask_missing(python, (), ["torch"], environment=unmarked, account=account)
    except NoAnswerError:
        return
    if lacking:
        raise UserError(
            f'comfyui.python = "{python}": has no torch, without which ComfyUI does not start; set it to the Python '
            f"that has it, or: {installing(python, directory)}"
        )


def _ours(state: Path) -> set[int]:
    """Return the processes of all instances that ever had a folder here."""
    folders = [folder for folder in state.iterdir() if folder.is_dir()]
    return {orphan.pid for folder in folders for orphan in orphans.find(orphans.marks(str(folder)))}
