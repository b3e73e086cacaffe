"""supervisord's methods, as far as they are needed, idempotent where its own are not."""

from __future__ import annotations

import time
import xmlrpc.client
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any
from xml.parsers.expat import ExpatError

from .transport import Transport
from .values import FAULTS, UP, Answer, Changes, Failure, Fault, Process, T, Unreachable

_POLL = 0.1
_DECISION = 2.0
"""Seconds after which a process that is EXITED stays so: supervisord decides within one turn of its loop (1 s)."""


class Supervisor:
    """A supervisord, by its address: ``unix:///run/supervisor.sock`` or ``http://127.0.0.1:9001``."""

    def __init__(self, url: str, timeout: float = 5.0, username: str = "", password: str = "") -> None:
        """Keep the address; connects to nothing. ``timeout``: seconds for a whole call. Raises UserError."""
        self.url = url
        self._transport = Transport(url, timeout, username, password)

    def state(self) -> Answer[str]:
        """Return supervisord's own state: RUNNING, RESTARTING, SHUTDOWN or FATAL."""
        return self._call(lambda answer: str(answer["statename"]), "getState")

    def pid(self) -> Answer[int]:
        """Return supervisord's pid."""
        return self._call(int, "getPID")

    def version(self) -> Answer[str]:
        """Return the version of supervisor."""
        return self._call(str, "getSupervisorVersion")

    def processes(self) -> Answer[tuple[Process, ...]]:
        """Return every program and event listener."""
        return self._call(lambda answer: tuple(map(_process, answer)), "getAllProcessInfo")

    def process(self, program: str) -> Answer[Process]:
        """Return one program, by its name for supervisorctl."""
        return self._call(_process, "getProcessInfo", program)

    def start(self, program: str, wait: bool = False, patience: float = 30.0) -> Answer[bool]:
        """Start a program; True if this call started it, False if it ran already.

        A start while it is being stopped is answered with "done" and does nothing, so the end of the stop is
        waited for, ``patience`` seconds at most; with ``wait`` also the state RUNNING.
        """
        process = self._until(program, lambda found: found.statename != "STOPPING", patience)
        if isinstance(process, Failure):
            return process
        answer = self._unless("ALREADY_STARTED", "startProcess", program, False)
        if isinstance(answer, Failure) or not wait:
            return answer
        process = self._until(program, lambda found: found.statename != "STARTING", patience)
        return process if isinstance(process, Failure) else answer

    def stop(self, program: str, wait: bool = True, patience: float = 30.0) -> Answer[bool]:
        """Stop a program; True if this call stopped it, False if it was stopped already.

        With ``wait`` also its end is waited for, ``patience`` seconds at most. supervisord refuses to stop a
        program that has just died, and starts it again a moment later; such a one is stopped then.
        """
        return self._stop_all((program,), wait, patience)

    def stop_group(self, group: str, patience: float = 30.0) -> Answer[bool]:
        """Stop every program of a group, all at once, and wait for their ends; True if any ran."""
        processes = self.processes()
        if isinstance(processes, Failure):
            return processes
        return self._stop_all([each.program for each in processes if each.group == group], True, patience)

    def signal(self, program: str, name: str) -> Answer[bool]:
        """Send a signal, ``INT`` or ``KILL``, to a program's process; False if it doesn't run."""
        return self._unless("NOT_RUNNING", "signalProcess", program, name)

    def reload_config(self) -> Answer[Changes]:
        """Read the configuration anew, changing nothing yet; a broken one is the fault CANT_REREAD."""
        return self._call(lambda answer: Changes(*map(tuple, answer[0])), "reloadConfig")

    def add_group(self, group: str) -> Answer[bool]:
        """Take a group of the configuration in, and start what is to start; False if it was there already."""
        return self._unless("ALREADY_ADDED", "addProcessGroup", group)

    def remove_group(self, group: str) -> Answer[bool]:
        """Forget a stopped group; False if it wasn't there. The fault STILL_RUNNING, if it isn't stopped."""
        return self._unless("BAD_NAME", "removeProcessGroup", group)

    def shutdown(self) -> Answer[bool]:
        """Have supervisord stop everything and end; False if it was at it already."""
        return self._unless("SHUTDOWN_STATE", "shutdown")

    def _stop_all(self, programs: Iterable[str], wait: bool, patience: float) -> Answer[bool]:
        orders = {program: self._order_stop(program) for program in programs}
        for answer in orders.values():
            if isinstance(answer, Failure):
                return answer
        deadline = time.monotonic() + patience
        for program in orders if wait else ():
            left = deadline - time.monotonic()
            process = self._until(program, lambda found: found.statename != "STOPPING", left)
            if isinstance(process, Failure):
                return process
        return any(orders.values())

    def _order_stop(self, program: str) -> Answer[bool]:
        """Tell supervisord to stop a program, again if it is just about to start it."""
        decided = time.monotonic() + _DECISION
        while True:
            answer = self._unless("NOT_RUNNING", "stopProcess", program, False)
            if answer is not False:
                return answer
            process = self.process(program)
            if isinstance(process, Failure):
                return process
            undecided = process.statename == "EXITED" and time.monotonic() < decided
            if not undecided and process.statename not in UP:
                return False
            time.sleep(_POLL)

    def _until(self, program: str, settled: Callable[[Process], bool], patience: float) -> Answer[Process]:
        """Ask for a program again and again, until it is as wanted."""
        deadline = time.monotonic() + patience
        while True:
            process = self.process(program)
            if isinstance(process, Failure) or settled(process):
                return process
            if time.monotonic() >= deadline:
                return Fault(91, "STILL_RUNNING", f"{program} is still {process.statename}")
            time.sleep(_POLL)

    def _unless(self, harmless: str, method: str, *arguments: object) -> Answer[bool]:
        """Call; True if it was done, False if a harmless fault says that there was nothing to do."""
        answer = self._call(bool, method, *arguments)
        if isinstance(answer, Fault) and answer.name == harmless:
            return False
        return answer

    def _call(self, convert: Callable[[Any], T], method: str, *arguments: Any) -> Answer[T]:
        """Call a method of supervisord's and give its answer the wanted shape."""
        try:
            answer = self._transport.exchange(xmlrpc.client.dumps(arguments, f"supervisor.{method}").encode())
            return convert(xmlrpc.client.loads(answer)[0][0])
        except xmlrpc.client.Fault as fault:
            return Fault(fault.faultCode, FAULTS.get(fault.faultCode, "UNKNOWN"), fault.faultString)
        except OSError as error:
            return Unreachable(f"supervisord at {self.url} does not answer: {error.strerror or error}")
        except (ExpatError, xmlrpc.client.Error, ValueError, TypeError, LookupError) as error:
            return Unreachable(f"what answers at {self.url} does not speak as supervisord does: {error!r}")


def _process(info: dict[str, Any]) -> Process:
    """Return what getProcessInfo tells; raises KeyError or TypeError if it isn't that."""
    return Process(**{field.name: info[field.name] for field in fields(Process)})
