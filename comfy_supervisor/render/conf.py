"""The text of supervisord's configuration, from the template in conf/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from ..model import Program
from ..paths import Paths
from . import quote

TEMPLATE = "supervisord.conf.j2"

REASONS = {
    "startsecs": "no start is too quick: a crash is up again at once, a loop backs off in the launcher, never FATAL",
    "startretries": "counts only what can't even be forked",
    "stopsignal": "on SIGTERM ComfyUI dies without cleaning up; on SIGINT it stops its server first",
    "stopasgroup": "what ComfyUI's nodes started goes with it, and holds neither port nor GPU memory",
    "stopwaitsecs": "it needs 1.5 s, idle or busy; more means that it hangs",
}
"""Why a program's options are as they are: comments in the file."""

_BLAME = {
    "COMFY_SUPERVISOR_DIRECTORY": "comfyui.directory",
    "COMFY_SUPERVISOR_STATE": "paths.state",
    "COMFY_SUPERVISOR_RUN": "paths.run",
    "HOME": "comfyui.user (its home folder)",
}


@dataclass(frozen=True)
class Configuration:
    """All that a supervisord.conf is made of."""

    programs: tuple[Program, ...]
    paths: Paths
    header: tuple[str, ...] = ()
    min_fds: int = 1024
    log_bytes: int = 50 * 1024 * 1024
    log_backups: int = 5
    user: str = ""
    """supervisord's own account: named when it is root, which it warns of otherwise."""
    fragment: bool = False
    """Only the programs' sections, for the conf.d of a supervisord that is there already."""

    @property
    def groups(self) -> tuple[tuple[str, Sequence[str]], ...]:
        """Each group with the names of its programs, in order."""
        names = dict.fromkeys(program.group for program in self.programs if program.group)
        return tuple((name, [p.name for p in self.programs if p.group == name]) for name in names)


def text(configuration: Configuration) -> str:
    """Return the file's content; raises UserError for a value that the format can't express."""
    import jinja2  # noqa: PLC0415  # 50 ms that only rendering needs

    environment = jinja2.Environment(  # noqa: S701  # not HTML; every value passes a filter of ours
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        value=lambda item, key, expansions=1: quote.value(str(item), key, expansions),
        command=lambda argv: quote.command(argv, "comfyui.extra_args or comfyui.directory"),
        environment=lambda variables: quote.environment(variables, _blamed),
        comment=quote.comment,
    )
    template = environment.from_string(_template())
    return template.render(configuration=configuration, reasons=REASONS)


def _template() -> str:
    return (files("comfy_supervisor.conf") / TEMPLATE).read_text(encoding="utf-8")


def _blamed(variable: str) -> str:
    return _BLAME.get(variable, f"comfyui.environment.{variable}")
