"""Traces a process as a debugger does, until its standard input ends: ``python tracer.py stop|outlive PID``.

``stop`` halts the process's main thread. ``outlive`` halts it at its end, however that comes: not even SIGKILL takes
it away while the tracer lives (ptrace(2), BUGS), which nothing else can do without a broken disk or driver.
Prints a line when it has begun.
"""

from __future__ import annotations

import ctypes
import os
import sys

_SEIZE, _INTERRUPT = 0x4206, 0x4207
_TRACE_EXIT = 0x40


def main(how: str, pid: int) -> None:
    """Trace, and wait."""
    libc = ctypes.CDLL(None, use_errno=True)
    requests = [(_SEIZE, _TRACE_EXIT if how == "outlive" else 0), *([(_INTERRUPT, 0)] if how == "stop" else [])]
    for request, option in requests:
        if libc.ptrace(ctypes.c_long(request), pid, None, ctypes.c_void_p(option)):
            sys.exit(os.strerror(ctypes.get_errno()))
    sys.stdout.write("traced\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
