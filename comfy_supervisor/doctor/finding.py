"""What a check has to say."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..errors import UserError


class Verdict(str, Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """ComfyUI runs, but not as well or as safely as it could."""
    PROBLEM = "problem"
    """ComfyUI does not start, or generates nothing."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    check: str
    """What was looked at: one of a fixed set of words, for programs to go by."""
    verdict: Verdict
    found: str
    wanted: str = ""
    mend: str = ""
    """What to do; empty where nothing is to be done."""


def ok(check: str, found: str, wanted: str = "") -> Finding:
    """Return that all is well."""
    return Finding(check, Verdict.OK, found, wanted)


def warning(check: str, found: str, wanted: str = "", mend: str = "") -> Finding:
    """Return that something could be better."""
    return Finding(check, Verdict.WARNING, found, wanted, mend)


def problem(check: str, found: str, wanted: str = "", mend: str = "") -> Finding:
    """Return that something would stop ComfyUI."""
    return Finding(check, Verdict.PROBLEM, found, wanted, mend)


def stated(check: str, verdict: Verdict, line: str) -> Finding:
    """Return a line of ours as a finding; what follows its first semicolon is the mend."""
    found, _, mend = line.partition("; ")
    return Finding(check, verdict, found, mend=mend)


def failure(check: str, error: Exception) -> Iterator[Finding]:
    """Yield what an exception says: each problem of a UserError, or that we have a bug."""
    if isinstance(error, UserError):
        yield from (stated(check, Verdict.PROBLEM, line) for line in error.problems)
        return
    frames = traceback.extract_tb(error.__traceback__)
    place = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    yield problem(
        check,
        f"this check itself failed ({type(error).__name__}: {error}{place})",
        "an answer",
        "this is a bug of comfy-supervisor: please report it; the other checks are not concerned",
    )
