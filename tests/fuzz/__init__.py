"""Hostile input, made up by Hypothesis: settings, events, HTTP answers, files, logs. Nothing crashes, hangs or injects.

A bounded run is part of the tests, the same each time where $CI is set; ``make fuzz MINUTES=60`` goes on with new ones.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FACTOR = float(os.environ.get("FUZZ_FACTOR", "1"))
"""How many times more, or less, is tried than in a run of the tests."""
CPU_SECONDS = 10.0
"""What the input of one example may cost: all of them are short, and seconds of them would mean a loop."""

EVIL = "x\n[program:evil]\ncommand=/bin/sh"
AWKWARD = (
    *("%", "%%", "%(here)s", "%(ENV_HOME)s", "%(x", ";", "#", " ;", " #", "\t;", "'", '"', "\\", "\\\\", ",", "=", " "),
    *("[", "]", "\n", "\r", "\x85", "\u2028", "\x0b", "\x00", "\x1b[2J", "\x9b", "\u202e", "\u3000", "é", "日本"),
    *("\n[program:evil]\ncommand=/bin/sh\n", "{{ 7*7 }}", "{% raw %}", "../", "$(id)", "`id`", "${HOME}", "--", "*"),
)
words = st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=4)), max_size=5).map("".join)
"""Texts that mean something to one of the parsers that they come through."""
lone = st.sampled_from(["\ud800", "a\udc80b", "\udfff/x"])
"""Half a character: JSON can say it, the environment can hold it, and no file."""
odd_numbers = st.sampled_from([0, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, 1e-320])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), odd_numbers, st.floats(), words, lone, st.text(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(words, lone), inner, max_size=4)),
    max_leaves=12,
)
"""Whatever JSON can say, and the numbers that Python's reader takes beside it."""


def examples(count: int) -> settings:
    """Return how a test is run that tries so many inputs."""
    return settings(
        max_examples=max(1, round(count * FACTOR)),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def dumped(value: Any) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value).encode()


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Give bytes that were well once: some are others now, some are gone, some were put between."""
    broken = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(broken) - 1)))
        how = draw(st.sampled_from(["changed", "cut", "removed", "added"]))
        if how == "cut":
            del broken[at:]
        elif how == "removed":
            del broken[at : at + draw(st.integers(1, 64))]
        else:
            new = draw(st.binary(min_size=1, max_size=16))
            broken[at : at + (len(new) if how == "changed" else 0)] = new
    return bytes(broken)


@contextmanager
def bounded() -> Iterator[None]:
    """Fail if what is within takes long, by this thread's own clock: a busy machine makes nothing slower."""
    began = time.thread_time()
    yield
    spent = time.thread_time() - began
    assert spent < CPU_SECONDS, f"{spent:.1f} s of CPU time"
