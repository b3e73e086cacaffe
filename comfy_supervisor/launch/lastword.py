"""The last words of an earlier life: what supervisord said of its end, and what it said itself.

supervisord forgets the exit status at the respawn, but its log doesn't. The lines are those of ``Subprocess.spawn``
and ``Subprocess.finish`` in supervisor/process.py, the same in 4.2.5, 4.3.0 and 4.4. ``exited`` is a death of its
own, ``stopped`` one that somebody asked supervisord for.
"""

from __future__ import annotations

from . import supervisord

_TAIL = 16384
"""Bytes of a log to look at."""
_LONGEST = 200
"""Characters of a line that are quoted."""
_OURS = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d comfy-supervisor: "
"""How the launcher's own lines begin (see Gate.say)."""


def ending(url: str, process: str, pid: int, timeout: float = 2.0) -> str:
    """Return how the life of a process ended, as supervisord logged it; empty if it can't be told.

    ``exited: exit status 2; not expected``, ``exited: terminated by SIGKILL; not expected`` or, if somebody
    asked for it, ``stopped: exit status 0``. ``url`` is SUPERVISOR_SERVER_URL, ``process`` the name without
    its group, ``pid`` that of the life in question; at most ``timeout`` seconds are spent.
    """
    return find(_log(url, "supervisor.readLog", "", timeout), process, pid)


def own_ending(url: str, process: str, pid: int, timeout: float = 2.0) -> str | None:
    """Return how that one life ended, whatever has befallen those after it; all else is as with ``ending``.

    Empty if the log doesn't tell; None if supervisord doesn't give it, and may when it is asked again.
    """
    log = _log(url, "supervisor.readLog", "", timeout)
    return find_own(log, process, pid) if log else None


def find_own(log: str, process: str, pid: int) -> str:
    """Return the end of the life with this ``pid``, and of no other, that a piece of supervisord's log tells of."""
    _, start, since = log.rpartition(f"spawned: '{process}' with pid {pid}\n")
    until_next = since.partition(f"spawned: '{process}' with pid ")[0]
    return next(iter(_ends(until_next, process)), "") if start else ""


def find(log: str, process: str, pid: int) -> str:
    """Return the end of the life with this ``pid`` that a piece of supervisord's log tells of.

    A stop by somebody since then counts for more: it may have met the launcher that waited after that life.
    Where the life's start is further back than the piece goes, the last end in it counts.
    """
    _, start, since = log.rpartition(f"spawned: '{process}' with pid {pid}\n")
    ends = _ends(since, process)
    stops = [end for end in ends if end.startswith("stopped: ")]
    return "".join((stops or ends)[:1] if start else ends[-1:])


def how(ending: str) -> tuple[int | None, int | None]:
    """Return the exit status and the signal that a text tells of in supervisord's words; None: it doesn't."""
    import re  # noqa: PLC0415
    import signal  # noqa: PLC0415

    status, name = re.search(r"exit status (\d{1,9})(?!\d)", ending), re.search(r"terminated by (SIG[A-Z0-9]+)", ending)
    number = getattr(signal, name[1], None) if name else None
    return int(status[1]) if status else None, int(number) if number else None


def _ends(log: str, process: str) -> list[str]:
    """Return all ends of a process that a piece of supervisord's log tells of."""
    import re  # noqa: PLC0415

    found = re.findall(rf"(?m)^\S+ \S+ [A-Z]+ ((?:exited|stopped): ){re.escape(process)} \((.*)\)$", log)
    return ["".join(parts) for parts in found]


def said(url: str, program: str, timeout: float = 2.0) -> str:
    """Return the line in which a process told why it ended, as far as its log shows; empty if it can't be told.

    ``program`` is its name for supervisorctl; at most ``timeout`` seconds are spent.
    """
    return telling(_log(url, "supervisor.readProcessStdoutLog", program, timeout))


def telling(log: str) -> str:
    """Return the most telling line at the end of ComfyUI's log: a fatal error of Python's, else the last line.

    Of a traceback that is the exception. Lines above the launcher's own belong to an earlier life, and indented
    ones to the line above them.
    """
    import re  # noqa: PLC0415

    latest = re.split(f"(?m)^{_OURS}.*$", log)[-1]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", latest)
    lines = [line for line in plain.splitlines() if line.strip() and not line[0].isspace()]
    fatal = [line for line in lines if line.startswith("Fatal Python error: ")]
    line = (fatal or lines or [""])[-1]
    return cut(line, _LONGEST)


def printable(text: str) -> str:
    """Return a text in one line, without what a terminal obeys: much of what we tell was said by others."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def cut(text: str, longest: int) -> str:
    """Return a text in one line without what a terminal obeys, of so many characters at most."""
    shown = printable(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def without_next(log: str) -> str:
    """Return a piece of ComfyUI's log without what the next life's launcher has said at its end already."""
    import re  # noqa: PLC0415

    return re.sub(rf"(?m)(?:^{_OURS}.*\n?)+\Z", "", log)


def _log(url: str, method: str, program: str, timeout: float) -> str:
    """Return the end of a log, empty if supervisord doesn't give it."""
    answer = supervisord.ask(url, method, *([program] if program else []), -_TAIL, 0, timeout=timeout)
    text = "" if "<fault>" in answer else answer.partition("<string>")[2].rpartition("</string>")[0]
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
