"""Some time of one machine, under one watcher: its instances, what befalls them, and the quiet between."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from . import events
from .accounts import Accounts
from .clockwork import Clockwork
from .faults import DAY
from .instance import Instance
from .load import Job, Load
from .ours import Ours, Patient, relieved
from .promises import BrokenPromiseError
from .queues import Kept, Memory, in_memory, one_clock
from .watchers import Httpok, Plain, Watcher

WARM = 90.0
"""Seconds before anything happens from which it is looked at again: every clock that a look can set is set by then."""
_MORNING = 9 * 3600.0
OURS, HTTPOK, PLAIN = "ours", "httpok", "supervisord alone"


@dataclass(frozen=True)
class Scenario:
    """What is simulated."""

    seed: int
    instances: int
    days: float
    often: float = 1.0
    """How many times as often as by nature things go wrong."""
    dense: bool = False
    """Whether each look is taken, also where nothing can come of it."""


class Simulation:
    """One watcher's time."""

    def __init__(self, scenario: Scenario, who: str) -> None:
        """Set everything up."""
        self.scenario, self.who = scenario, who
        self.clockwork, self.accounts = Clockwork(), Accounts()
        self.accounts.bin_seconds = max(float(scenario.days * DAY // 52), 3600.0)
        self.chance = random.Random(f"{scenario.seed} machine")
        self.seconds = scenario.days * DAY
        self.events = events.schedule(scenario.seed, scenario.instances, self.seconds, scenario.often)
        self._times = [
            [event.at for event in self.events if event.instance in (None, number)]
            for number in range(scenario.instances)
        ]
        self.instances = [self._instance(number) for number in range(scenario.instances)]
        self.watcher: Watcher

    def _instance(self, number: int) -> Instance:
        seed, often = self.scenario.seed, self.scenario.often
        load = Load(random.Random(f"{seed} load {number}"), often)
        return Instance(number, self.clockwork, load, random.Random(f"{seed} life {number}"), self.accounts)

    def run(self) -> Accounts:
        """Let the time pass; raises BrokenPromiseError, with what went before."""
        with ExitStack() as stack:
            worlds = self._queues(stack)
            stack.enter_context(one_clock(self.clockwork, worlds))
            try:
                self._watch()
                self._begin()
                self.clockwork.run(self.seconds)
                self._close()
            except Exception as error:
                raise BrokenPromiseError(f"{self.scenario}: {error}\n{self.clockwork.told()}") from error
        return self.accounts

    def _queues(self, stack: ExitStack) -> dict[str, Kept]:
        worlds: dict[str, Kept] = {}
        folder = stack.enter_context(in_memory()) if self.who == OURS else None
        for number, one in enumerate(self.instances):
            if folder is None:
                one.queue = Memory(self._heard)
                continue
            own = folder / one.name
            own.mkdir()
            one.queue = worlds[str(own)] = Kept(own, number, self.clockwork, self._heard, one.died)
        return worlds

    def _heard(self, job: Job, fate: str) -> None:
        self.accounts.ended(job, fate, self.clockwork.now)

    def _watch(self) -> None:
        if self.who == OURS:
            ours = Ours(self.clockwork, self.instances)
            ours.calm = self._calm
            self.watcher = ours
        else:
            self.watcher = Httpok(self.clockwork, self.instances) if self.who == HTTPOK else Plain()

    def _begin(self) -> None:
        for one in self.instances:
            one.watcher = self.watcher
            one.spawn()
            self._expect(one)
        self._next_event(0)
        every = DAY if self.scenario.often == 1 else 3600.0
        self.clockwork.at(_MORNING % every or every, self._morning, every)

    def _next_event(self, number: int) -> None:
        if number < len(self.events):
            self.clockwork.at(self.events[number].at, self._happens, number)

    def _happens(self, number: int) -> None:
        events.happen(self.events[number], self)
        self._next_event(number + 1)

    def _morning(self, every: float) -> None:
        """Somebody comes, and looks."""
        for one in self.instances:
            one.morning()
        self.clockwork.at(self.clockwork.now + every, self._morning, every)

    def _expect(self, one: Instance) -> None:
        """Have the next job come when it does."""
        one.expected += 1
        self.clockwork.at(one.load.next().at, self._arrives, one, one.expected)

    def _arrives(self, one: Instance, expected: int) -> None:
        if one.asleep or expected != one.expected:
            return
        idle = one.is_well and one.ail is None and not (one.waiting or one.paused or len(one.queue))
        if self.who != OURS and idle and self._sleep(one, lambda _: None):
            return
        one.arrive(one.load.take())
        self._expect(one)

    # quiet times

    def _calm(self, patient: Patient) -> bool:
        """Hear of a look; tell whether no more of them are needed for now."""
        one = patient.instance
        settled = one.is_well and one.ail is None and not one.waiting and not one.paused
        if not (settled and patient.queue.is_at_rest and not patient.queue.full):
            return False
        patient.queue.rest()
        if self.scenario.dense or not relieved(patient, self.watcher.rules):  # type: ignore[attr-defined]
            return False
        return self._sleep(one, lambda when: self.watcher.wake(patient, when))  # type: ignore[attr-defined]

    def _sleep(self, one: Instance, wake: Callable[[float], None]) -> bool:
        """Do what is done while nothing happens, at once; tell whether there was anything to skip."""
        now = self.clockwork.now
        times = self._times[int(one.name[3:])]
        place = bisect_right(times, now)
        horizon = min(times[place] if place < len(times) else self.seconds, self.seconds) - WARM
        until = self._work_off(one, horizon)
        if until <= now + WARM:
            return False
        one.asleep = True
        self.clockwork.at(until, self._wake, one)
        wake(until)
        return True

    def _wake(self, one: Instance) -> None:
        one.asleep = False
        self._expect(one)

    def _work_off(self, one: Instance, horizon: float) -> float:
        """Have all jobs done that are over long before anything happens; return until when nothing does."""
        load = one.load
        while True:
            group = load.group(WARM)
            over = 0.0
            for job in group:
                over = max(job.at, over) + job.seconds
            if over > horizon or any(job.fault for job in group):
                load.put_back(group)
                return min(horizon, group[0].at - WARM)
            self._done(group)

    def _done(self, group: list[Job]) -> None:
        over = 0.0
        for job in group:
            over = max(job.at, over) + job.seconds
            job.runs = 1
            job.end(over)
            self.accounts.ended(job, "done", over)

    # in the end

    def _close(self) -> None:
        for one in self.instances:
            one.account()
            if isinstance(one.queue, Kept):
                one.queue.close()
