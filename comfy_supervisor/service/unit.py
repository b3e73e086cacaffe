"""The text of systemd's units: pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    import jinja2

UNIT = "comfyui-headless.service"
GPU_UNIT = "comfyui-headless-gpu.service"
"""Makes the GPUs' device nodes, before the service is confined to those that exist."""
MARK = "# Written by comfy-supervisor"
"""How a unit of ours begins; another one of that name is its owner's."""
SPARE_SECONDS = 60
"""What supervisord gets beyond ComfyUI's own time to stop: it ends its groups one after the other."""


@dataclass(frozen=True)
class Site:
    """Where the service runs, and as whom."""

    version: str
    """Ours."""
    command: tuple[str, ...]
    """What runs a module: our interpreter, and the option that shields it."""
    config: str
    """The settings file; empty: none, the defaults and the environment file are all."""
    state: Path
    run: Path
    account: str = ""
    """Whom it runs as; empty: a user's own unit."""
    groups: tuple[str, ...] = ()
    """Further groups, for GPUs whose device nodes are not everybody's."""
    writable: tuple[Path, ...] = ()
    """Folders beside ours that ComfyUI and its custom nodes write to."""
    read_only_homes: bool = False
    """Whether something that it needs lies in a home folder."""
    stop_seconds: int = 10
    memory_high: int = 0
    """Bytes; 0: no limit."""
    oom_policy: str = "continue"

    @property
    def conf(self) -> Path:
        """supervisord's configuration."""
        return self.state / "supervisord.conf"

    @property
    def ours(self) -> tuple[str, ...]:
        """The command line of comfy-supervisor with these settings."""
        return (*self.command, "-m", "comfy_supervisor", *(["-c", self.config] if self.config else []))

    @property
    def supervisord(self) -> tuple[str, ...]:
        """The command line of supervisord, in the foreground."""
        return (*self.command, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(self.conf))

    @property
    def state_directory(self) -> str:
        """The state folder as systemd's StateDirectory= names it, which makes it; empty where it can't."""
        return _below(Path("/var/lib"), self.state)

    @property
    def runtime_directory(self) -> str:
        """The run folder as RuntimeDirectory= names it: nobody else makes it anew after a boot; empty elsewhere."""
        return _below(Path("/run"), self.run)

    @property
    def places(self) -> tuple[str, ...]:
        """All folders that it writes to, but for those that systemd makes for it."""
        made = {self.state: self.state_directory, self.run: self.runtime_directory}
        apart = [
            path for path in made if not made[path] and (path == self.state or not path.is_relative_to(self.state))
        ]
        return tuple(dict.fromkeys(f"-{path}" for path in (*apart, *self.writable)))


def unit(site: Site) -> str:
    """Return the text of the service's unit."""
    return _template("comfyui-headless.service.j2").render(
        site=site,
        mark=MARK,
        gpu_unit=GPU_UNIT,
        stop_timeout=site.stop_seconds + SPARE_SECONDS,
    )


def gpu_unit(version: str) -> str:
    """Return the text of the unit that makes the GPUs' device nodes."""
    return _template("comfyui-headless-gpu.service.j2").render(version=version, mark=MARK)


def _below(outer: Path, folder: Path) -> str:
    """Return a folder as it is named within another; empty if it is elsewhere, or has what must not be in a list."""
    inner = str(folder.relative_to(outer)) if outer in folder.parents else ""
    return inner if re.fullmatch(r"[\w./@+-]*", inner, re.ASCII) else ""


def can_be_said(text: str) -> bool:
    """Tell whether a unit, or advice to root, can hold a name that somebody else may have chosen.

    It has no control character, no line's or paragraph's end of Unicode's, no white space but blanks, nothing that
    turns the direction of writing, and is UTF-8: systemd, a terminal and whoever copies a line read the same in it.
    """
    return text.isprintable()


def refuse_unsayable(text: str) -> None:
    """Raise UserError for what neither a unit nor advice can hold."""
    if not can_be_said(text):
        raise UserError(f"{text!a}: has a character that no unit of systemd's can hold; rename it")


def quoted(text: str) -> str:
    """Return one word of a command line or a list, as systemd reads it back: systemd.service(5), systemd.unit(5).

    Raises UserError for what can't be said in a unit: a folder's name may have a line's end in it, and what follows
    would be a line of its own, which systemd believes as root's.
    """
    refuse_unsayable(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if escaped != text or not text or set(text) & set(" \t';") else text


def command(words: Sequence[str]) -> str:
    """Return a command line, whose words systemd must not take for variables."""
    return " ".join(quoted(word).replace("$", "$$") for word in words)


@lru_cache(maxsize=2)
def _template(name: str) -> jinja2.Template:
    import jinja2  # noqa: PLC0415  # 50 ms that only a new unit needs

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # no HTML
    )
    environment.filters.update(command=command, words=lambda paths: " ".join(map(quoted, paths)))
    return environment.from_string(files("comfy_supervisor.conf").joinpath(name).read_text(encoding="utf-8"))
