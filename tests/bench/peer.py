"""superlance's httpok and our health listener, side by side: how soon each mends what is wrong, and what it breaks."""

from __future__ import annotations

import importlib.util
import statistics
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, TypeVar

from . import wards
from .report import Report, load, note, table, versions
from .trials import AFTERWARDS, TRIALS, Outcome, Trial, attempt
from .wards import Ward

_T = TypeVar("_T")

OURS = ("ours, default", "ours, fast")
WATCHERS: Mapping[str, Callable[[], Ward]] = {
    "httpok, TICK_60": lambda: wards.httpok("TICK_60"),
    "httpok, TICK_5": lambda: wards.httpok("TICK_5"),
    OURS[0]: wards.ours,
    OURS[1]: lambda: wards.ours(preset="fast"),
}
_AT_ONCE = 4
"""Wards that come up at the same time."""
_HOW = f"""\
Each cell is a supervisord of its own with a stand-in of its own, well when it goes wrong; all of them run at the same
time. A cell has the seconds from the fault to the new process → to its first answer, the median and, of several
rounds, the range; what came after is watched for {AFTERWARDS:g} s more. A false restart is one of a process that
needed none. Where supervisord's tick is what counts, the second in it is chance.

httpok as its documentation has it (`TICK_60`, or `TICK_5` for the impatient), with
`-p comfyui -t 10 -E http://127.0.0.1:PORT/prompt`, over `autorestart=true` and else supervisord's defaults.
Ours as rendered, without settings, and with `health.preset = "fast"`."""


def measure(rounds: int) -> Report:
    """Have everything go wrong under everybody's eyes."""
    if importlib.util.find_spec("superlance") is None:
        return Report("superlance is not installed: `pip install -e '.[bench]'`", ["the peer was not measured"])
    before, found = load(), defaultdict[tuple[str, str], list[Outcome]](list)
    for turn in range(1, rounds + 1):
        note(f"peer: round {turn} of {rounds}, about 7 minutes")
        for key, outcome in _round().items():
            found[key].append(outcome)
    rows = [(trial.name, *(_cell(trial, found[trial.name, who]) for who in WATCHERS)) for trial in TRIALS]
    told = f"{versions('superlance', 'supervisor', 'comfy-supervisor')}; load {before} → {load()}; rounds: {rounds}"
    missed = [f"{trial.name}: {who}" for trial in TRIALS for who in OURS if _missed(trial, who, found[trial.name, who])]
    return Report(f"{_HOW}\n\n{told}:\n\n{table(('what happens', *WATCHERS), rows)}", missed)


def _round() -> dict[tuple[str, str], Outcome]:
    """Return what came of each trial under each watcher."""
    core, trials = threading.Lock(), {(trial.name, who): trial for trial in TRIALS for who in WATCHERS}
    up: list[Ward] = []

    def make(key: tuple[str, str]) -> Ward:
        up.append(WATCHERS[key[1]]())
        return up[-1]

    def run(key: tuple[str, str], ward: Ward) -> Outcome:
        with core if trials[key].alone else nullcontext():
            outcome = attempt(trials[key], ward)
        if len(outcome.processes) > trials[key].deaths:
            note(f"peer: {', '.join(key)}: {outcome}\n{ward.log.read_text()[-2000:]}")
        return outcome

    try:
        wards_made = _each(_AT_ONCE, make, trials)
        note(f"peer: {len(up)} services are up; now they go wrong")
        return dict(zip(trials, _each(len(up), run, trials, wards_made), strict=True))
    finally:
        _each(_AT_ONCE, lambda ward: ward.close(), up)


def _each(at_once: int, do: Callable[..., _T], *arguments: Iterable[Any]) -> list[_T]:
    """Return what a function says to each, so many at a time."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(do, *arguments))


def _missed(trial: Trial, who: str, outcomes: Sequence[Outcome]) -> bool:
    """Tell whether one of ours did too much, or nothing in time."""
    if any(len(outcome.processes) != trial.deaths for outcome in outcomes):
        return True
    most = trial.most[OURS.index(who)] if trial.most else trial.window
    return any(outcome.processes[0] > most for outcome in outcomes if trial.deaths)


def _cell(trial: Trial, outcomes: Sequence[Outcome]) -> str:
    """Return what came of a trial in all rounds."""
    wrong = sum(max(0, len(outcome.processes) - trial.deaths) for outcome in outcomes)
    false = f"**{wrong} false restart{'s' if wrong > 1 else ''}**" if wrong else ""
    if not trial.deaths:
        return false or "left alone"
    process = [outcome.processes[0] for outcome in outcomes if outcome.processes]
    api = [outcome.api for outcome in outcomes if outcome.api is not None]
    never = f"never ({trial.window:g} s)"
    both = (_times(seconds, len(outcomes)) if seconds else never for seconds in (process, api))
    times = " → ".join(both) if process else never
    return ", ".join(filter(None, (times, false)))


def _times(seconds: Sequence[float], rounds: int) -> str:
    """Return the median and the range, and in how many rounds it came to that if not in all."""
    spread = f" ({min(seconds):.1f}-{max(seconds):.1f})" if len(seconds) > 1 else ""
    often = "" if len(seconds) == rounds else f", {len(seconds)} of {rounds} times"
    return f"{statistics.median(seconds):.1f} s{spread}{often}"
