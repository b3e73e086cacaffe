"""``python -I -m comfy_supervisor.launch INSTANCE -- COMMAND…``: clears the way for ComfyUI, then becomes it.

Its settings are environment variables, which ComfyUI inherits: COMFY_SUPERVISOR_INSTANCE, …_STATE and …_RUN
(the instance's own folders); and, if they are there, …_DIRECTORY (the working folder for ComfyUI), …_ADDRESS
(``127.0.0.1:8188,[::1]:8188``: where it will listen) and …_BACKOFF (``10:300:600``, see starts).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # of which signal is a wrapper that takes a while to import

if __name__ == "__main__":
    # First of all, since what follows takes a while: Python's own answer to SIGINT is an exception, which leaves a
    # traceback in ComfyUI's log, and is lost where it meets a callback of the import system. And who is stopped has
    # to end first what a killed supervisord left running: nobody else will.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGINT, _signal.SIGTERM))
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)

import errno
import os
import signal
import sys

from . import holds, orphans, records, starts
from .gate import STOPS, Gate, OrphanedError, StoppedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

_SETTINGS = "COMFY_SUPERVISOR__"
"""How the variables begin that set a setting: they may be secret, and are none of ComfyUI's."""
_USAGE = """\
usage: python -m comfy_supervisor.launch INSTANCE -- COMMAND [ARGUMENT...]
with COMFY_SUPERVISOR_INSTANCE (the same), COMFY_SUPERVISOR_STATE and COMFY_SUPERVISOR_RUN in the environment
"""

_EXEC_RETRY = 30.0
"""Seconds until a command that the kernel refused is tried again."""
_REFUSALS = {errno.EACCES: "permission_denied", errno.EPERM: "permission_denied", errno.ENOEXEC: "binary_incompatible"}
"""The cause of such a refusal, where it is one of those that every report knows."""
_CLEAR = ("", "")
"""Nothing is in the way."""


class Launch:
    """One start of one instance: what has to be true before ComfyUI may run, in order."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Keep the command that is to become this process, and read what the environment says."""
        self._command = command
        self._environment = environment
        self._state = environment["COMFY_SUPERVISOR_STATE"]
        self._run = environment["COMFY_SUPERVISOR_RUN"]
        self._began = starts.uptime()
        self._boot_id = starts.boot_id()
        self._lives = 0
        self.gate = Gate(self._run, _program(environment), "SUPERVISOR_ENABLED" in environment)

    def become(self) -> NoReturn:
        """Wait for whatever has to be waited for, then become ComfyUI."""
        self._make_folder(self._state)
        self._make_folder(self._run)
        self.gate.drop_own()
        self.gate.pass_holds()
        failures = self._back_off()
        while True:
            self.gate.wait_while(self._run_elsewhere, holds.CONFIGURATION)
            self.gate.wait_while(self._surviving_orphans, holds.GPU_FAULT)
            self.gate.wait_while(self._taken_port, holds.CONFIGURATION)
            self.gate.wait_while(self._missing_command, holds.CONFIGURATION)
            if self.gate.pass_holds():
                continue  # the world may have changed meanwhile
            self._record_start(failures)
            error = self._exec()
            text = f"{self._command[0]} can't be executed: {error.strerror}"
            self.gate.back_off(holds.CONFIGURATION, text, _EXEC_RETRY, _REFUSALS.get(error.errno or 0, ""))

    def is_unwanted(self) -> bool:
        """Tell whether somebody is stopping it already: a signal before the exec met supervisord's own handlers.

        No, where supervisord's socket is closed to us, as to an account of ComfyUI's own.
        """
        from . import supervisord  # noqa: PLC0415

        url = self._environment.get("SUPERVISOR_SERVER_URL", "")
        return bool(url) and supervisord.is_stopping(url, _program(self._environment))

    def give_way(self) -> None:
        """Somebody stopped the launcher while it waited, or before: the next start is a fresh one.

        Who stops an instance wants nothing of it, nor what an earlier life left.
        """
        holds.clear(self._run)
        starts.forget(self._state)
        orphans.end_left(self._environment, self.gate.say)

    def _make_folder(self, folder: str) -> None:
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
        except OSError as error:
            self.gate.say(f"the folder {folder} can't be made: {error.strerror}")

    def _back_off(self) -> int:
        """Wait as long as the earlier lives' ends ask for; return how many short ones there were in a row."""
        last = self._last_start()
        if last is None:
            return 0
        self._lives = last.lives
        numbers = self._numbers()
        lived = self._began - last.at
        if lived < numbers.healthy and any(orphan.pid == last.pid for orphan in orphans.find(self._environment)):
            return last.failures  # that life goes on: it was its supervisord that died
        ending = self._ending(last.pid) if lived < numbers.healthy else ""
        failures = starts.failures(last, lived, ending, numbers)
        delay = numbers.delay(failures) - (starts.uptime() - self._began)
        if delay <= 0:
            return failures
        text = (
            f"{failures} short lives in a row, the last one {lived:.0f} s ({ending or 'its end is unknown'}); "
            f"next start in {delay:.0f} s{self._last_words()}"
        )
        return failures if self.gate.back_off(holds.BACKOFF, text, delay) else 0

    def _last_start(self) -> starts.Start | None:
        try:
            return starts.load(self._state, self._boot_id, self._began)
        except records.MalformedError as error:
            self.gate.say(f"{error}; set aside")
            records.set_aside(starts.path(self._state))
            return None

    def _numbers(self) -> starts.Backoff:
        try:
            return starts.backoff(self._environment.get("COMFY_SUPERVISOR_BACKOFF", ""))
        except ValueError as error:
            self.gate.say(f"COMFY_SUPERVISOR_BACKOFF: {error}; the usual numbers are taken")
            return starts.Backoff()

    def _ending(self, pid: int) -> str:
        from . import lastword  # noqa: PLC0415  only after a short life

        url = self._environment.get("SUPERVISOR_SERVER_URL", "")
        return lastword.ending(url, self._environment.get("SUPERVISOR_PROCESS_NAME", ""), pid)

    def _last_words(self) -> str:
        """Return what to add of the last line in ComfyUI's log."""
        from . import lastword  # noqa: PLC0415  only after a short life

        line = lastword.said(self._environment.get("SUPERVISOR_SERVER_URL", ""), _program(self._environment))
        return f"; its last line: {line}" if line else ""

    # Each of these returns what is in the way, with the cause's id as far as it has one.

    def _run_elsewhere(self) -> tuple[str, str]:
        """Return who else runs this instance: ending each other's would go on for ever."""
        return orphans.elsewhere(self._environment), ""

    def _surviving_orphans(self) -> tuple[str, str]:
        """End what an earlier life left; return what can't be ended."""
        left = orphans.end(orphans.find(self._environment), self.gate.say)
        if not left:
            return _CLEAR
        names = ", ".join(str(orphan) for orphan in left)
        return f"{names} of an earlier life can't be killed: stuck in the kernel, which often takes a reboot", ""

    def _taken_port(self) -> tuple[str, str]:
        from . import ports  # noqa: PLC0415

        text = self._environment.get("COMFY_SUPERVISOR_ADDRESS", "")
        try:
            addresses = ports.addresses(text) if text else []
        except ValueError as error:
            self.gate.say(f"COMFY_SUPERVISOR_ADDRESS: {error}; the port isn't checked")
            return _CLEAR
        looked = (ports.explained(*address) for address in addresses)
        return next((found for found in looked if found != _CLEAR), _CLEAR)

    def _missing_command(self) -> tuple[str, str]:
        folder = self._environment.get("COMFY_SUPERVISOR_DIRECTORY", "/")
        if not os.path.isdir(folder):
            return f"the folder {folder} is not there", ""
        program = self._command[0]
        if "/" not in program or (os.access(program, os.X_OK) and os.path.isfile(program)):
            return _CLEAR
        if not os.path.exists(program):
            return f"{program} does not exist", ""
        return f"{program} is no program", "permission_denied"

    def _record_start(self, failures: int) -> None:
        try:
            start = starts.Start(self._boot_id, os.getpid(), starts.uptime(), failures, self._lives + 1)
            starts.save(self._state, start)
        except OSError as error:
            self.gate.say(f"{starts.path(self._state)} can't be written: {error.strerror}")

    def _exec(self) -> OSError:
        """Become ComfyUI; return only if that fails, with the reason."""
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them, and what is ignored stays so
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # a stop that came since the last wait ends us here
        try:
            os.chdir(self._environment.get("COMFY_SUPERVISOR_DIRECTORY", "."))
            theirs = {name: text for name, text in self._environment.items() if not name.startswith(_SETTINGS)}
            os.execvpe(self._command[0], self._command, theirs)  # noqa: S606  no shell is meant
        except OSError as error:
            return error


def main(arguments: list[str]) -> int:
    """Become the command; return an exit status only if that is not to be: 0 stopped, 2 bad arguments."""
    if not _makes_sense(arguments, os.environ):
        sys.stderr.write(_USAGE)
        return 2
    launch = Launch(arguments[2:], os.environ)
    if launch.is_unwanted():
        launch.give_way()
        return 0
    try:
        launch.become()
    except StoppedError:
        launch.give_way()
    except OrphanedError:
        launch.gate.say("supervisord is gone; so is this launcher")
    return 0


def _makes_sense(arguments: list[str], environment: Mapping[str, str]) -> bool:
    instance = environment.get("COMFY_SUPERVISOR_INSTANCE")
    folders = environment.get("COMFY_SUPERVISOR_STATE") and environment.get("COMFY_SUPERVISOR_RUN")
    return bool(folders) and len(arguments) > 2 and arguments[:2] == [instance, "--"]  # noqa: PLR2004


def _program(environment: Mapping[str, str]) -> str:
    """Return the instance's name for supervisorctl: ``comfyui`` or ``comfyui:gpu1``."""
    name = environment.get("SUPERVISOR_PROCESS_NAME", "")
    group = environment.get("SUPERVISOR_GROUP_NAME", name)
    return name if group == name else f"{group}:{name}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
