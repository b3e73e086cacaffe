"""Time commands, turn by turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 60.0
"""Seconds."""
PEAK = """\
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(child, 0)
sys.stdout.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small parent: Linux counts the parent's memory at the fork as the child's peak."""


@dataclass(frozen=True)
class Command:
    """What is run."""

    argv: Sequence[str]
    environ: Mapping[str, str]
    cwd: Path


@dataclass(frozen=True)
class Figures:
    """What a command took."""

    seconds: Sequence[float]
    peak_mib: float
    """The most memory that it, or one process that it waited for, had resident."""

    @property
    def median(self) -> float:
        """In seconds."""
        return statistics.median(self.seconds)


def measure(commands: Sequence[Command], rounds: int) -> list[Figures]:
    """Run every command once for its memory, then all of them in turns; raises CalledProcessError."""
    peaks = [_peak_mib(command) for command in commands]
    turns = [[_seconds(command) for command in commands] for _ in range(rounds)]
    return [Figures(seconds, peak) for seconds, peak in zip(zip(*turns, strict=True), peaks, strict=True)]


def _seconds(command: Command) -> float:
    began = time.perf_counter()
    _run(command, command.argv)
    return time.perf_counter() - began


def _peak_mib(command: Command) -> float:
    said = _run(command, [sys.executable, "-I", "-S", "-c", PEAK, *command.argv])
    return int(said) / 1024


def _run(command: Command, argv: Sequence[str]) -> bytes:
    try:
        return subprocess.run(
            argv, env=command.environ, cwd=command.cwd, capture_output=True, check=True, timeout=DEADLINE
        ).stdout
    except subprocess.CalledProcessError as error:
        sys.stderr.write(error.stderr.decode(errors="replace"))
        raise
