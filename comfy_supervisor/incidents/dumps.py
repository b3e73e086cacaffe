"""Stack dumps and tracebacks, by faulthandler, py-spy and Python itself: read, and the suspect named. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

_THREAD = re.compile(r"^(?P<name>(?:Current thread|Thread) 0x[0-9a-f]+.*?)(?: \(most recent call first\))?:\s*$")
"""faulthandler's (Python/traceback.c, ``dump_traceback``)."""
_FRAME = re.compile(r'^\s+File "(?P<file>[^"\n]*)", line (?P<line>\d+|\?\?\?),? in (?P<function>.+?)\s*$')
"""faulthandler's and Python's own."""
_SPY_THREAD = re.compile(r'^(?P<name>Thread \d+ \([^)]*\)(?:: ".*")?)\s*$')
_SPY_FRAME = re.compile(r"^\s+(?P<function>[^\s(][^(]*?) \((?P<file>[^\n]+\.py):(?P<line>\d+)\)\s*$")
"""py-spy's, with --full-filenames; from 0.4.2 on a method has its class's name before its own."""
_TRACEBACK = re.compile(r"^(?:.* )?Traceback \(most recent call last\):\s*$")
_FATAL = re.compile(r"^Fatal Python error: ")
_WORKER_FILE = re.compile(r"(?:^|/)execution\.py$")
_WORKER = "prompt_worker"
_CUSTOM = re.compile(r"/custom_nodes/(?P<package>[^/]+?)(?:\.py$|/)")
_OURS = "/comfy_supervisor_bridge/"


@dataclass(frozen=True)
class Frame:
    """One call."""

    file: str
    line: int
    """0: it isn't known."""
    function: str

    @property
    def told(self) -> str:
        """It in one line."""
        return f"{self.file}:{self.line} in {self.function}"


@dataclass(frozen=True)
class Thread:
    """One thread's calls, the innermost first."""

    name: str
    frames: tuple[Frame, ...] = ()

    @property
    def is_worker(self) -> bool:
        """Whether it is the one that runs ComfyUI's jobs."""
        return any(frame.function == _WORKER or _WORKER_FILE.search(frame.file) for frame in self.frames)


@dataclass(frozen=True)
class Suspect:
    """What is most likely to blame, and how that is known."""

    source: str
    """``stacks`` (the extension's), ``py-spy``, ``faulthandler``, ``traceback``, ``heartbeat``, ``log``."""
    frame: Frame | None = None
    package: str = ""
    """The folder in custom_nodes; empty: none of those."""
    node: str = ""
    """The running node's id in the graph."""
    class_type: str = ""
    details: tuple[tuple[str, str], ...] = ()
    """What the log names: an option, a module, a port … and which."""

    @property
    def told(self) -> str:
        """It in one line."""
        parts = [f"node {self.node} ({self.class_type or 'class unknown'})"] if self.node else []
        parts += [f"custom-node package {self.package}"] if self.package else []
        parts += [f"at {self.frame.told}"] if self.frame else []
        parts += [f"{name} {value}" for name, value in self.details]
        return ", ".join(parts) or "nothing is suspected"


def threads(text: str) -> tuple[Thread, ...]:
    """Return the threads of a dump by faulthandler or py-spy, in its order; of several dumps, the last one's."""
    found: list[Thread] = []
    for line in text.splitlines():
        head = _THREAD.match(line) or _SPY_THREAD.match(line)
        if head:
            found.append(Thread(head["name"]))
        elif found and (frame := _frame(line)):
            found[-1] = replace(found[-1], frames=(*found[-1].frames, frame))
    return _last(found)


def _last(found: Sequence[Thread]) -> tuple[Thread, ...]:
    """Return the threads of the last dump: one ends with the current thread, or begins with a name once more."""
    begun: list[Thread] = []
    for thread in found:
        if any(thread.name.split()[:2] == each.name.split()[:2] for each in begun):
            begun = []
        begun.append(thread)
    return tuple(begun)


def tracebacks(lines: Iterable[str]) -> tuple[Thread, ...]:
    """Return the exceptions' stacks in a log, the oldest first, each with the innermost call first."""
    found: list[Thread] = []
    open_one = False
    for line in lines:
        if _TRACEBACK.match(line.rstrip("\n")):
            found.append(Thread("traceback"))
            open_one = True
        elif open_one and (frame := _frame(line)):
            found[-1] = replace(found[-1], frames=(frame, *found[-1].frames))
        elif line.strip() and not line[0].isspace():
            open_one = False
    return tuple(found)


def fatal(lines: Sequence[str]) -> str:
    """Return what faulthandler has written into a log at the process's end; empty: nothing."""
    begins = [number for number, line in enumerate(lines) if _FATAL.match(line)]
    if not begins:
        return ""
    taken = []
    for line in lines[begins[-1] :]:
        if not line.strip() or _FATAL.match(line) or _THREAD.match(line.rstrip()) or line[0] == " ":
            taken.append(line.rstrip("\n"))
        else:
            break
    return "\n".join(taken).strip("\n")


def _frame(line: str) -> Frame | None:
    found = _FRAME.match(line) or _SPY_FRAME.match(line)
    if not found:
        return None
    return Frame(found["file"], int(found["line"]) if found["line"].isdecimal() else 0, found["function"])


def suspect(found: Iterable[Thread], source: str) -> Suspect | None:
    """Return the suspect that a dump names; None: no worker thread, or none of its calls is in anybody's nodes.

    The innermost call in a custom node's package; else in ComfyUI's ``comfy``, ``comfy_extras``, ``nodes.py``.
    """
    worker = next((thread for thread in found if thread.is_worker), None)
    if worker is None:
        return None
    frames = [frame for frame in worker.frames if _OURS not in frame.file]
    for frame in frames:
        if package := _CUSTOM.search(frame.file):
            return Suspect(source, frame, package["package"])
    root = next((frame.file.rpartition("/")[0] for frame in worker.frames if _WORKER_FILE.search(frame.file)), "")
    for place in ("/comfy/", "/comfy_extras/", "/nodes.py"):
        for frame in frames:
            if f"{frame.file}".startswith(f"{root}{place}"):
                return Suspect(source, frame)
    return None
