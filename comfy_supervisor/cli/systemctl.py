"""What is asked of systemd: the machine's, or a user's own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .. import machine
from ..errors import UserError
from .common import warn

_RUN = ("start", "restart")
"""What systemctl is told that executes something of ours, of which only the journal has the words."""
MANAGER_SECONDS = 10.0
"""How long a user's own systemd may take to come up."""


@dataclass(frozen=True)
class Systemd:
    """The one that is meant."""

    user: bool

    @property
    def folder(self) -> Path:
        """Where its units lie."""
        return machine.unit_folder(user=self.user)

    def drop_ins(self, unit: str) -> list[str]:
        """Return the files that change this unit, and not others as well; raises UserError."""
        paths = self.tell("show", "--property", "DropInPaths", "--value", unit).split()
        return [path for path in paths if f"/{unit}.d/" in path]

    def tell(self, *words: str) -> str:
        """Have systemctl do something, and return what it prints; raises UserError with its words if it refuses."""
        argv = self._argv("systemctl", *words)
        done = subprocess.run(argv, env=self._environ(), capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().partition("\n")[0]
            why = f"; comfy-supervisor service logs{' --user' * self.user} shows why" * (words[0] in _RUN)
            raise UserError(f"systemctl {' '.join(words)}: {said or f'exit code {done.returncode}'}{why}")
        return done.stdout

    def become(self, program: str, *words: str) -> NoReturn:
        """Become systemctl or journalctl: its words and its exit code are the answer. Raises UserError."""
        argv = self._argv(program, *words)
        sys.stdout.flush()
        os.execve(argv[0], argv, self._environ())  # noqa: S606  # found, and given as a list

    def refuse_root(self) -> None:
        """Raise UserError if it is root's own, in which ComfyUI would run as root."""
        if self.user and not os.geteuid():
            raise UserError("--user: root's own service would run ComfyUI as root; say it as that user, without sudo")

    def refuse_without_rights(self) -> None:
        """Raise UserError if this is the machine's, and not ours to change."""
        if not self.user and os.geteuid():
            raise UserError("the machine's service is root's to change: use sudo, or --user for a service of your own")

    def linger(self) -> None:
        """Have a user's own run from boot on, not only while somebody is logged in; the machine's does so anyway.

        It is then started at once where there was none: by logind, which doesn't wait until it listens.
        """
        if not self.user:
            return
        name = pwd.getpwuid(os.getuid()).pw_name
        words = [shutil.which("loginctl") or "loginctl", "enable-linger", name]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            warn(f"it runs only while you are logged in, until: sudo loginctl enable-linger {name}")
            return
        deadline = time.monotonic() + MANAGER_SECONDS
        while time.monotonic() < deadline and not (machine.own_runtime() / "systemd" / "private").exists():
            time.sleep(0.1)

    def _environ(self) -> dict[str, str]:
        """Return our environment, with where a user's own systemd listens: cron and ``sudo -u`` don't say it."""
        return {**({"XDG_RUNTIME_DIR": str(machine.own_runtime())} if self.user else {}), **os.environ}

    def _argv(self, program: str, *words: str) -> list[str]:
        """Return a command line for this systemd; raises UserError where there is none."""
        found = shutil.which(program)
        if not found:
            raise UserError(f"{program} is not here: this machine has no systemd; comfy-supervisor up runs without it")
        return [found, *(["--user"] if self.user else []), *words]
