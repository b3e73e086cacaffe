"""One fault in one ward: from the honest jobs that are queued to the account of them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .common import NotHereError
from .fault import Fault, Seen
from .ward import Ward, Watch

MOST_DELAY = 1.0
"""Seconds of chance before a fault strikes."""
_SETTLED = 2.0
"""Seconds after which a restart that nobody needed would have begun."""
_RUNNING, _IDLE = (2.0, 0.2, 0.2), (0.5, 0.2, 0.2)
"""What the honest jobs take: those that a fault strikes amid, and those that come after it."""
_TROUBLE = ("our own error", "Traceback")


def attempt(fault: Fault, ward: Ward, name: str) -> Seen:
    """Let it go wrong in a ward that is well, and return what came of it; never raises."""
    seen, jobs, written = Seen(ward.chance.choice(fault.states)), list[str](), len(_log(ward))
    ward.complaints = []
    watch = Watch(ward)
    try:
        if seen.state == "running":
            jobs = ward.queue_honest(name, _RUNNING)
            ward.wait_for(lambda: ward.health(ward.instances[0]).get("running"), what="a job runs")
        time.sleep(ward.chance.uniform(0, MOST_DELAY))
        ward.strike()
        fault.cause(ward)
        _await(ward, fault, watch)
        jobs = jobs or ward.queue_honest(name, _IDLE)
        _await_jobs(ward, jobs)
        _await_calm(ward, fault)
    except NotHereError as error:
        seen.not_tried = str(error)
    except pytest.skip.Exception as skipped:
        seen.not_tried = str(skipped)
    except Exception as error:  # noqa: BLE001  # whatever went wrong is what came of it
        ward.complaints.append(_sentence(error))
    finally:
        ward.stack.close()
        watch.end()
    _account(seen, ward, watch, jobs)
    if not fault.expected.troubled:
        seen.complaints += [f'the listener\'s log says "{word}"' for word in _TROUBLE if word in _log(ward)[written:]]
    return seen


def _await(ward: Ward, fault: Fault, watch: Watch) -> None:
    """Wait for the new lives that are expected, and for their first answer."""
    if fault.expected.lives:
        ward.wait_for(lambda: len(watch.lives) >= fault.expected.lives and watch.answered, ward.patience, "a new life")
    ward.wait_for(ward.is_answering, ward.patience, "the API answers")


def _await_jobs(ward: Ward, jobs: list[str]) -> None:
    ward.wait_for(lambda: all(map(ward.pictures, jobs)), ward.patience, "the honest jobs are done")


def _await_calm(ward: Ward, fault: Fault) -> None:
    for name in ward.instances:
        ward.wait_for_word(fault.expected.final, instance=name)
    time.sleep(_SETTLED)


def _account(seen: Seen, ward: Ward, watch: Watch, jobs: list[str]) -> None:
    """Write down what was seen."""
    decisions = [each for name in ward.instances for each in ward.decided(ward.struck, name)]
    verdicts: list[dict[str, Any]] = [each["verdict"] for each in decisions]
    seen.lives = [at - ward.struck for at in watch.lives]
    seen.answered = watch.answered - ward.struck if watch.answered else None
    seen.detected = ward.detected(ward.struck, ward.instances)
    seen.causes = tuple(each["cause"] for each in verdicts if each.get("deed") in ("restart", "kill"))
    seen.alerts = tuple(each.get("cause", "healthy") for each in verdicts if each.get("deed") == "alert")
    seen.words = tuple(dict.fromkeys(each["word"] for each in verdicts))
    words = {ward.word(name) for name in ward.instances}
    seen.final = words.pop() if len(words) == 1 else ", ".join(sorted(words))
    done = [ward.pictures(job) for job in jobs]
    seen.jobs, seen.lost, seen.twice = len(done), done.count(0), sum(each > 1 for each in done)
    seen.complaints = list(ward.complaints)


def _log(ward: Ward) -> str:
    return ward.log("comfyui-health")


def _sentence(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}" if not isinstance(error, AssertionError) else lines[0][:200]


@contextmanager
def admitted(fault: Fault | None, chance: random.Random) -> Iterator[Ward]:
    """Give a ward that is up and well: for one fault, or with the usual settings."""
    ward = Ward()
    ward.chance = chance
    try:
        if fault and fault.prepare:
            fault.prepare(ward)
        tables = {name: dict(table) for name, table in ((fault.settings if fault else None) or {}).items()}
        if "paths" in tables:
            logs = ward.folder / "logs"
            tables["paths"] = {"state": str(ward.state), "run": str(ward.run_folder), "logs": str(logs)}
        ward.admit(tables)
        ward.up(*ward.instances)
        yield ward
    finally:
        ward.close()
