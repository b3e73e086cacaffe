"""What several rooms' tests need."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

T = TypeVar("T")

needs_comfyui = pytest.mark.skipif(
    not os.environ.get("COMFYUI_DIR"),
    reason="needs a real ComfyUI: set COMFYUI_DIR to its folder (and COMFYUI_PYTHON to its interpreter)",
)

CLI_ARGS = """\
import argparse
import enum

import comfy.options


class Speed(enum.Enum):
    SLOW = "slow"
    QUICK = "quick"


def existing_folder(path):
    raise argparse.ArgumentTypeError("there is no such folder")


parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=8188)
parser.add_argument("--listen", nargs="?", const="0.0.0.0")
parser.add_argument("--speed", type=Speed)
parser.add_argument("--folder", type=existing_folder)
parser.add_argument("--level", choices=["low", "high"])
group = parser.add_mutually_exclusive_group()
group.add_argument("--cpu", action="store_true")
group.add_argument("--gpu-only", action="store_true")
args = parser.parse_args(None if comfy.options.args_parsing else [])
if args.port == 13:
    parser.error("not that port")
"""
"""A small ``comfy/cli_args.py`` with one option of each kind, and a check after parsing."""

OPTIONS = """\
args_parsing = False


def enable_args_parsing():
    global args_parsing
    args_parsing = True
"""


def make_comfyui(folder: Path, cli_args: str = CLI_ARGS, version: str = "0.3.64") -> Path:
    """Write what makes a folder look like a ComfyUI; returns the folder."""
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").write_text("raise SystemExit('main.py is not to be run')\n")
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    (folder / "comfy" / "cli_args.py").write_text(cli_args)
    (folder / "comfy" / "options.py").write_text(OPTIONS)
    return folder


def make_program(path: Path, text: str) -> Path:
    """Write an executable shell script; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def answering(path: Path, answer: str) -> Path:
    """Write an interpreter that answers so, whatever is asked of it (``interpreter.ask``); returns its path."""
    return make_program(path, f"""for descriptor; do :; done; printf '%s' '{answer}' >"/dev/fd/$descriptor\"""")


def seed(variable: str) -> int:
    """Return what a test's random choices come from: what the variable says, else in CI always the same.

    No change is to fail on what was drawn, as in Hypothesis's profile for CI (see conftest). Elsewhere each run draws
    anew.
    """
    asked = os.environ.get(variable, "")
    return int(asked) if asked else 1 if os.environ.get("CI") else random.SystemRandom().randrange(2**32)


def wait_until(condition: Callable[[], T], deadline: float = 30.0, what: str = "") -> T:
    """Return what holds as soon as it does; fail if it does not within `deadline` seconds.

    It looks ever less often, down to 20 times a second: each look is work for those who are asked, too.
    """
    end, pause = time.monotonic() + deadline, 0.01
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {deadline:g} s: {what}"
        time.sleep(pause)
        pause = min(1.1 * pause, 0.05)
    return found


@contextmanager
def running(code: str, environment: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a process run Python code, which says one line once it has begun; kill it afterwards."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, env={**environment, **os.environ}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def is_running(pid: int) -> bool:
    """Tell whether the process lives; one that is dead and not reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_port(count: int = 2) -> int:
    """Return the first of so many TCP ports of 127.0.0.1 in a row that nobody held a moment ago.

    They lie below those that Linux gives to clients, whose connections would take them before a server does; and are
    chosen by a chance that Hypothesis does not govern, or tests that run side by side would choose the same.
    """
    draw = random.SystemRandom()
    while True:
        first = draw.randrange(10_000, 32_000)
        if all(map(is_free, range(first, first + count))):
            return first


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of 127.0.0.1."""
    with suppress(OSError):
        socket.create_server(("127.0.0.1", port)).close()
        return True
    return False
