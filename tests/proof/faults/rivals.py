"""The same faults under us, under superlance's httpok, and under supervisord alone, side by side and nothing scaled."""

from __future__ import annotations

import importlib.util
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field

from tests.bench import wards
from tests.bench.report import load, note, table, versions
from tests.bench.wards import Ward
from tests.faults.patient import sleeper
from tests.proof import plots

from .show import NOTHING
from .ward import honest, pictures

WATCHERS: Mapping[str, Callable[[], Ward]] = {
    "ours": lambda: wards.ours(preset="fast"),
    "httpok": lambda: wards.httpok("TICK_5"),
    "autorestart": wards.plain,
}
OURS = next(iter(WATCHERS))
WINDOW, QUICK_WINDOW = 65.0, 45.0
"""Seconds after which what was not done counts as never done."""
_AFTERWARDS = 12.0
"""Seconds for which what works again is watched: two of the peer's ticks and a little more."""
_AT_ONCE = 4
"""Wards that come up at a time."""
_TOGETHER = 3
"""Faults that are tried at a time, each under everybody's eyes: more of them would slow every start down, and what is
slow to start httpok ends again."""
_JOBS = (4.0, 0.5, 0.5)
_POLL = 0.1
HEADER = ("fault", *(f"{who}: {what}" for who in WATCHERS for what in ("works again", "jobs lost", "false restarts")))
HOW = """\
The same under superlance's httpok (`TICK_5`, its shortest, `-t 10`) over `autorestart=true`, and under that alone. Here
nothing is scaled: ours is as rendered with `health.preset = "fast"`, since httpok's tick can't be made shorter. Three
jobs wait when it goes wrong, the first of them running. A cell has the median and, in brackets, the worst of the
rounds; what does not work again within {window:g} s is never mended, and what has then left no picture is lost. Where a
start takes longer than its tick, httpok ends it again: that depends on the machine's load."""


@dataclass(frozen=True)
class Rivalry:
    """A fault that makes sense for all of them."""

    number: int
    name: str
    begin: Callable[[Ward], None]
    lives: int = 1
    """New processes that are right."""
    alone: bool = False
    quick: bool = False


@dataclass
class Outcome:
    """What came of it, in seconds since it went wrong."""

    lives: list[float] = field(default_factory=list)
    answered: float | None = None
    lost: int = 0


_When = Callable[[Outcome], "float | None"]
_PLOTS: Mapping[str, tuple[str, _When]] = {
    "detection": ("from the fault to a new process", lambda outcome: outcome.lives[0] if outcome.lives else None),
    "recovery": ("from the fault to a new process's first good answer", lambda outcome: outcome.answered),
}


def _signalled(number: signal.Signals) -> Callable[[Ward], None]:
    return lambda ward: os.kill(ward.pid(), number)


def _slow_start(ward: Ward) -> None:
    ward.orders.write_text("slow:15")
    os.kill(ward.pid(), signal.SIGKILL)


RIVALRIES = (
    Rivalry(64, "SIGKILL", _signalled(signal.SIGKILL), quick=True),
    Rivalry(64, "SIGKILL; each start takes 15 s", _slow_start),
    Rivalry(1, "SIGSTOP", _signalled(signal.SIGSTOP), quick=True),
    Rivalry(4, "worker thread dies", lambda ward: ward.order("worker_dies"), quick=True),
    Rivalry(5, "a job deadlocks", lambda ward: ward.order("stall", deaf=True)),
    Rivalry(10, "no request is answered", lambda ward: ward.order("hold_answers")),
    Rivalry(11, "HTTP 500s that last", lambda ward: ward.order("http_500")),
    Rivalry(
        2,
        "honest: no answer for 20 s, with CPU",
        lambda ward: ward.order("hold_answers", how="burn", seconds=20),
        0,
        alone=True,
    ),
)


def measure(repeat: int, *, quick: bool) -> tuple[str, list[str], dict[str, str]]:
    """Return what came of it as text, what of ours was not as it has to be, and a plot."""
    if importlib.util.find_spec("superlance") is None:
        return "superlance is not installed: `pip install -e '.[bench]'`", ["the peer was not measured"], {}
    chosen, window = [each for each in RIVALRIES if each.quick or not quick], QUICK_WINDOW if quick else WINDOW
    found: dict[tuple[str, str], list[Outcome]] = {(each.name, who): [] for each in chosen for who in WATCHERS}
    before = load()
    for turn in range(repeat):
        note(f"faults: the peers, round {turn + 1} of {repeat}")
        for key, outcome in _round(chosen, window).items():
            found[key].append(outcome)
    rows = [(each.name, *(cell for who in WATCHERS for cell in _cells(each, found[each.name, who]))) for each in chosen]
    missed = [
        f"beside the peers: {each.name}"
        for each in chosen
        if any(is_wrong(each, one) for one in found[each.name, OURS])
    ]
    shown = "\n\n".join(f"![Seconds {what}, by who watches](plots/{name}.svg)" for name, (what, _) in _PLOTS.items())
    said = f"{versions('superlance', 'supervisor')}; load {before} → {load()}; rounds: {repeat}:"
    text = "\n\n".join([HOW.format(window=window), said, table(HEADER, rows), shown])
    return text, missed, {name: _drawn(chosen, found, *told) for name, told in _PLOTS.items()}


def _round(chosen: Sequence[Rivalry], window: float) -> dict[tuple[str, str], Outcome]:
    """Return what came of each fault under each watcher."""
    found: dict[tuple[str, str], Outcome] = {}
    for first in range(0, len(chosen), _TOGETHER):
        found.update(_together(chosen[first : first + _TOGETHER], window))
    return found


def _together(chosen: Sequence[Rivalry], window: float) -> dict[tuple[str, str], Outcome]:
    core, up = threading.Lock(), list[Ward]()
    cases = {(each.name, who): each for each in chosen for who in WATCHERS}

    def make(key: tuple[str, str]) -> Ward:
        up.append(WATCHERS[key[1]]())
        return up[-1]

    def run(key: tuple[str, str], ward: Ward) -> Outcome:
        with core if cases[key].alone else nullcontext():
            return attempt(cases[key], ward, window)

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            made = list(pool.map(make, cases))
        with ThreadPoolExecutor(len(cases)) as pool:
            return dict(zip(cases, pool.map(run, cases, made), strict=True))
    finally:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda ward: ward.close(), up))


def attempt(rivalry: Rivalry, ward: Ward, window: float) -> Outcome:
    """Let it go wrong amid honest jobs, and return what came of it."""
    outcome, last = Outcome(), ward.pid()
    names = [f"job-{place}-" for place in range(len(_JOBS))]
    for seconds, name in zip(_JOBS, names, strict=True):
        ward.queue(honest(sleeper(seconds), name))
    time.sleep(1.0)
    began = time.monotonic()
    rivalry.begin(ward)
    until = window
    while (now := time.monotonic() - began) < until:
        if (pid := ward.pid()) not in {0, last}:
            outcome.lives.append(now)
            last = pid
        enough = len(outcome.lives) >= rivalry.lives > 0
        if enough and outcome.answered is None and ward.answers():
            outcome.answered = time.monotonic() - began
        if until == window and (enough or not rivalry.lives) and all(pictures(ward.output, each) for each in names):
            until = min(window, time.monotonic() - began + max(_AFTERWARDS, 0 if rivalry.lives else 30))
        time.sleep(_POLL)
    outcome.lost = sum(not pictures(ward.output, each) for each in names)
    return outcome


def false_restarts(rivalry: Rivalry, outcome: Outcome) -> int:
    """Return how many new processes nobody needed."""
    return max(0, len(outcome.lives) - rivalry.lives)


def is_wrong(rivalry: Rivalry, outcome: Outcome) -> bool:
    """Tell whether it was not mended, or something was lost or done too much."""
    mended = not rivalry.lives or outcome.answered is not None
    return not mended or bool(outcome.lost) or bool(false_restarts(rivalry, outcome))


def _cells(rivalry: Rivalry, outcomes: Sequence[Outcome]) -> tuple[str, str, str]:
    lost = sum(outcome.lost for outcome in outcomes)
    false = sum(false_restarts(rivalry, outcome) for outcome in outcomes)
    return _again(rivalry, outcomes), f"{lost} of {len(_JOBS) * len(outcomes)}", str(false)


def _again(rivalry: Rivalry, outcomes: Sequence[Outcome]) -> str:
    known = [outcome.answered for outcome in outcomes if outcome.answered is not None]
    if not rivalry.lives:
        return NOTHING
    if not known:
        return "never"
    worst = f" ({max(known):.1f})" if len(known) > 1 else ""
    often = "" if len(known) == len(outcomes) else f", {len(known)} of {len(outcomes)} times"
    return f"{statistics.median(known):.1f} s{worst}{often}"


def _drawn(
    chosen: Sequence[Rivalry], found: Mapping[tuple[str, str], Sequence[Outcome]], what: str, when: _When
) -> str:
    """Return the plot of when something was so, in the median."""
    shown = [each for each in chosen if each.lives]
    series = {who: [_median(map(when, found[each.name, who])) for each in shown] for who in WATCHERS}
    return plots.dots([each.name for each in shown], series, f"seconds {what}, median")


def _median(seconds: Iterable[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return statistics.median(known) if known else None
