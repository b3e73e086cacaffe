"""What is asked of systemd: the machine's, or a user's own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .. import machine
from ..errors import UserError
from .common import warn

_RUN = ("start", "restart")
"""What systemctl is told that executes something of ours, of which only the journal has the words."""
SYSTEM_UNITS = Path("/etc/systemd/system")


@dataclass(frozen=True)
class Systemd:
    """The one that is meant."""

    user: bool

    @property
    def folder(self) -> Path:
        """Where its units lie."""
        if not self.user:
            return SYSTEM_UNITS
        home = machine.look().home
        return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user"

    def drop_ins(self, unit: str) -> list[str]:
        """Return the files that change this unit, and not others as well; raises UserError."""
        paths = self.tell("show", "--property", "DropInPaths", "--value", unit).split()
        return [path for path in paths if f"/{unit}.d/" in path]

    def tell(self, *words: str) -> str:
        """Have systemctl do something, and return what it prints; raises UserError with its words if it refuses."""
        done = subprocess.run(self._argv("systemctl", *words), capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            why = f"; comfy-supervisor service logs{' --user' * self.user} shows why" * (words[0] in _RUN)
            raise UserError(f"systemctl {' '.join(words)}: {said[0] if said else f'exit code {done.returncode}'}{why}")
        return done.stdout

    def become(self, program: str, *words: str) -> NoReturn:
        """Become systemctl or journalctl: its words and its exit code are the answer. Raises UserError."""
        argv = self._argv(program, *words)
        sys.stdout.flush()
        os.execv(argv[0], argv)  # noqa: S606  # found, and given as a list

    def refuse_without_rights(self) -> None:
        """Raise UserError if this is the machine's, and not ours to change."""
        if not self.user and os.geteuid():
            raise UserError("the machine's service is root's to change: use sudo, or --user for a service of your own")

    def linger(self) -> None:
        """Have a user's own run from boot on, not only while somebody is logged in; the machine's does so anyway."""
        if not self.user:
            return
        name = pwd.getpwuid(os.getuid()).pw_name
        words = [shutil.which("loginctl") or "loginctl", "enable-linger", name]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            warn(f"it runs only while you are logged in, until: sudo loginctl enable-linger {name}")

    def _argv(self, program: str, *words: str) -> list[str]:
        """Return a command line for this systemd; raises UserError where there is none."""
        found = shutil.which(program)
        if not found:
            raise UserError(f"{program} is not here: this machine has no systemd; comfy-supervisor up runs without it")
        return [found, *(["--user"] if self.user else []), *words]
