"""Read a configuration as supervisord reads it: with its own parser."""

from __future__ import annotations

import configparser
import io
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError


@dataclass(frozen=True)
class Meaning:
    """What supervisord makes of one program, as far as anybody's value can change it."""

    group: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    log: str
    uid: int | None


def options(file: Path) -> Any:
    """Return supervisord's options as it would run with them; raises UserError with its own words if it wouldn't."""
    from supervisor.options import ServerOptions  # noqa: PLC0415  # 75 ms that few commands need

    found = ServerOptions()
    found.stdout = found.stderr = said = io.StringIO()
    try:
        found.realize(args=["-c", str(file)])
    except SystemExit as exit_:
        reason = said.getvalue().strip().partition("\n")[0]
        raise UserError(f"supervisord refuses the configuration: {reason or exit_.code}") from exit_
    return found


def client_url(file: Path) -> str:
    """Return where supervisorctl would look for supervisord."""
    from supervisor.options import ClientOptions  # noqa: PLC0415

    client = ClientOptions()
    client.realize(args=["-c", str(file), "status"])
    return str(client.serverurl)


def sections(file: Path) -> dict[str, dict[str, str]]:
    """Return a file's sections with their options as written; raises UserError if it has none to speak of."""
    from supervisor.options import UnhosedConfigParser  # noqa: PLC0415

    parser = UnhosedConfigParser()
    try:
        parser.read(str(file), encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UserError(f"{file}: damaged: {' '.join(str(error).split())}; comfy-supervisor render mends it") from error
    return {name: dict(parser.items(name)) for name in parser.sections()}


def programs(found: Any) -> Iterator[tuple[str, Meaning]]:
    """Yield each program by name."""
    for group in found.process_group_configs:
        for config in group.process_configs:
            yield (
                config.name,
                Meaning(
                    group=group.name,
                    argv=tuple(shlex.split(config.command)),
                    environment=dict(config.environment),
                    directory=config.directory,
                    log=config.stdout_logfile if config.redirect_stderr else config.stderr_logfile,
                    uid=config.uid,
                ),
            )
