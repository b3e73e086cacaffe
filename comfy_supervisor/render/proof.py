"""The proof: supervisord's own reader must find exactly what was meant, before a file is written."""

from __future__ import annotations

import os
import pwd
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..model import Program
from ..paths import Paths
from . import reader
from .conf import Configuration, text
from .reader import Meaning

INCLUDER = "[supervisord]\nlogfile={0}/log\npidfile={0}/pid\nchildlogdir={0}\n[include]\nfiles={0}/fragment.conf\n"
"""Stands for the supervisord.conf that a fragment will be included by."""


@dataclass(frozen=True)
class Service:
    """What supervisord makes of the rest of the file."""

    sections: frozenset[str]
    socket: str = ""
    log: str = ""
    pidfile: str = ""
    client: str = ""
    """Where supervisorctl looks for it."""


def prove(configuration: Configuration) -> None:
    """Read the configuration with supervisord's own parser and compare it with what was meant.

    Files are put below a scratch folder and accounts replaced by our own, so that a file meant for another machine
    is proved as well. Raises UserError if supervisord refuses it, or would do anything else than was meant.
    """
    with tempfile.TemporaryDirectory(prefix="comfy-supervisor-") as scratch:
        mapped = _mapped(configuration, Path(scratch))
        meant = _meant(mapped)
        found = _read(mapped, Path(scratch))
    for name in sorted(meant.keys() | found.keys()):
        if meant.get(name) != found.get(name):
            raise UserError(_difference(name, meant.get(name), found.get(name)))


def _mapped(configuration: Configuration, scratch: Path) -> Configuration:
    """Return the same configuration for a scratch folder, with the folders that its reader wants to see."""

    def below(path: Path) -> Path:
        return scratch / path.relative_to(path.anchor)  # which may be //, too

    me = _my_account()
    paths = Paths(
        *(below(path) for path in (configuration.paths.state, configuration.paths.run, configuration.paths.logs))
    )
    programs = tuple(
        replace(program, log=below(program.log), user=me if program.user else "") for program in configuration.programs
    )
    for folder in {paths.state, paths.run, paths.logs, *(program.log.parent for program in programs)}:
        folder.mkdir(parents=True, exist_ok=True)
    return replace(configuration, paths=paths, programs=programs, user=me if configuration.user else "")


def _my_account() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a number without an account: supervisord could not look it up
        return ""


def _meant(configuration: Configuration) -> dict[str, Meaning | Service]:
    """Return what the configuration is to mean, by program; the rest under an empty name."""
    kinds = {f"{program.kind}:{program.name}" for program in configuration.programs}
    groups = {f"group:{name}" for name, _ in configuration.groups}
    paths = configuration.paths
    own = {"unix_http_server", "supervisord", "rpcinterface:supervisor", "supervisorctl"}
    service = Service(
        sections=frozenset(kinds | groups | own),
        socket=str(paths.socket),
        log=str(paths.supervisord_log),
        pidfile=str(paths.pidfile),
        client=f"unix://{paths.socket}",
    )
    programs = {program.name: _intended(program) for program in configuration.programs}
    return {**programs, "": Service(frozenset(kinds | groups)) if configuration.fragment else service}


def _intended(program: Program) -> Meaning:
    return Meaning(
        group=program.group or program.name,
        argv=program.command,
        environment=dict(program.environment),
        directory=str(program.directory),
        log=str(program.log),
        uid=os.geteuid() if program.user else None,
    )


def _read(configuration: Configuration, scratch: Path) -> dict[str, Meaning | Service]:
    """Return what supervisord finds in the configuration's text."""
    main = scratch / "supervisord.conf"
    content = text(configuration)
    if configuration.fragment:
        (scratch / "fragment.conf").write_text(content, encoding="utf-8")
        main.write_text(INCLUDER.format(scratch), encoding="utf-8")
    else:
        main.write_text(content, encoding="utf-8")
    options = reader.options(main)
    sections = frozenset(reader.sections(scratch / "fragment.conf" if configuration.fragment else main))
    service = Service(sections) if configuration.fragment else _service(options, main, sections)
    return {**dict(reader.programs(options)), "": service}


def _service(options: Any, main: Path, sections: frozenset[str]) -> Service:
    return Service(
        sections=sections,
        socket=options.server_configs[0]["file"],
        log=options.logfile,
        pidfile=options.pidfile,
        client=reader.client_url(main),
    )


def _difference(name: str, meant: Meaning | Service | None, found: Meaning | Service | None) -> str:
    """Say in one line where supervisord would read something else."""
    if meant is None or found is None:
        return f"supervisord would {'miss' if found is None else 'find one more'} program {name!r} in the configuration"
    wrong = next(key for key in vars(meant) if vars(meant)[key] != vars(found).get(key))
    if wrong == "environment":  # whose values may be secret
        return f"supervisord would read other values in the environment of {name}; look at comfyui.environment"
    return (
        f"supervisord would read {wrong} of {name or 'the service'} as {vars(found).get(wrong)!r} "
        f"instead of {vars(meant)[wrong]!r}; choose another value"
    )
