"""``python guard.py MODULE…``: import modules, and stop at the first one that does more than define things."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading

FORBIDDEN_MODULES = ("pynvml", "torch")
FORBIDDEN_EVENTS = (
    "ctypes.dlopen",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.kill",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.system",
    "shutil.",
    "socket.",
    "sqlite3.connect",
    "subprocess.Popen",
    "tempfile.",
)
"""Python's audit events (PEP 578), or how they begin."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
"""Reading is let pass: that is how a module is imported."""


def forbid(event: str, arguments: tuple[object, ...]) -> None:
    """Raise RuntimeError for what no import may do."""
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
    imports = event == "import" and str(arguments[0]).partition(".")[0] in FORBIDDEN_MODULES
    if writes or imports or event.startswith(FORBIDDEN_EVENTS):
        raise RuntimeError(f"{event} {arguments[0]}: not while a module is imported")


def world() -> dict[str, object]:
    """Return what else an import could change."""
    return {
        "the environment": dict(os.environ),
        "the working folder": os.getcwd(),  # noqa: PTH109  # pathlib is not to be imported here
        "a thread": threading.active_count(),
        **{number.name: signal.getsignal(number) for number in signal.Signals},
    }


def main() -> None:
    """Import what the arguments name."""
    before = world()
    sys.addaudithook(forbid)
    for name in sys.argv[1:]:
        try:
            importlib.import_module(name)
        except SystemExit as error:
            raise RuntimeError(f"importing {name} exits") from error
        after = world()
        changed = [what for what in before if before[what] != after[what]]
        if changed:
            raise RuntimeError(f"importing {name} changed {', '.join(changed)}")


if __name__ == "__main__":
    main()
