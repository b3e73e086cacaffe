"""The eight promises in a toy world: under Hypothesis, and in a long random walk. $POLICY_SEED repeats a walk."""

from __future__ import annotations

import random

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from comfy_supervisor.health.policy.evidence import Deed
from tests.support import seed

from .world import MODES, WINDOW_OF_CPU, World

SEED = seed("POLICY_SEED")
PARTS = 4
STEPS = 250_000
"""Looks in each part of the walk."""


class Machine(RuleBasedStateMachine):
    """What may happen to an instance, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(seconds=st.sampled_from([1, 12, 45, 150]))
    def time_passes(self, seconds: float) -> None:
        self.world.watch(seconds)

    @rule(mode=st.sampled_from(MODES))
    def behaves(self, mode: str) -> None:
        self.world.behave(mode)

    @rule(mode=st.sampled_from(["stalls", "deaf", "refuses", "burns"]))
    def sickens_for_good(self, mode: str) -> None:
        self.world.submit()
        self.world.behave(mode)
        self.world.watch(260)

    @rule(signal=st.sampled_from("StT"), seconds=st.sampled_from([1, 8, 30]))
    def is_signalled(self, signal: str, seconds: float) -> None:
        self.world.send(signal)
        self.world.watch(seconds)

    @rule()
    def gets_a_job(self) -> None:
        self.world.submit()

    @rule()
    def loses_its_jobs(self) -> None:
        self.world.delete()

    @rule()
    def crashes(self) -> None:
        self.world.crash()
        self.world.watch(30)

    @rule()
    def starts_anew_by_itself(self) -> None:
        self.world.reexec()

    @rule(seconds=st.sampled_from([5.0, 60.0, 900.0]))
    def will_start_slowly(self, seconds: float) -> None:
        self.world.start_takes = seconds

    @rule()
    def is_stopped(self) -> None:
        self.world.stop()
        self.world.watch(10)

    @rule()
    def is_started(self) -> None:
        self.world.start()

    @rule()
    def is_restarted(self) -> None:
        self.world.operator_restart()

    @rule()
    def is_forgiven(self) -> None:
        self.world.forgive()

    @rule()
    def is_maintained(self) -> None:
        self.world.maintenance = not self.world.maintenance

    @rule()
    def has_company(self) -> None:
        self.world.company = not self.world.company

    @rule(doomed=st.booleans())
    def is_doomed(self, doomed: bool) -> None:
        self.world.doomed = doomed
        self.world.watch(300)

    @rule(fault=st.sampled_from(["", "Xid 79"]))
    def has_a_gpu(self, fault: str) -> None:
        self.world.fault = fault

    @rule(strong=st.booleans(), killable=st.booleans())
    def has_a_hand(self, strong: bool, killable: bool) -> None:
        self.world.strong, self.world.killable = strong, killable

    @rule(seconds=st.sampled_from([31.0, 600.0, 30000.0]))
    def nobody_looks(self, seconds: float) -> None:
        self.world.sleep(seconds)

    @rule(
        asked=st.booleans(),
        supervisord=st.booleans(),
        body=st.booleans(),
        queue=st.booleans(),
        looks=st.sampled_from([1, 12]),
    )
    def is_seen_badly(self, asked: bool, supervisord: bool, body: bool, queue: bool, looks: int) -> None:
        for _ in range(looks):
            self.world.advance(self.world.pause())
            self.world.look(asked, supervisord, body, queue)


TestPromises = Machine.TestCase
TestPromises.settings = settings(max_examples=200, stateful_step_count=100, phases=[Phase.generate, Phase.shrink])


def _at_work(jobs: int) -> World:
    world = World()
    world.watch(60)
    for _ in range(jobs):
        world.submit()
    return world


def _interrupt(world: World) -> float:
    """Look on until a job is interrupted, and return when that is."""
    for _ in range(500):
        world.watch(1)
        if world.verdict.deed is Deed.INTERRUPT:
            return world.now
    pytest.fail(f"no interrupt: {world.verdict}")


@pytest.mark.parametrize(("works", "least"), [(0, 180), (1, 180), (3, 180), (10, 300), (30, 300)])
def test_a_stall_lasts_from_the_last_work_that_shows(works: float, least: float) -> None:
    world = _at_work(jobs=2)
    world.behave("stalls")
    began = world.now
    world.watch(120)
    world.behave("works")
    world.watch(works)
    world.behave("stalls")
    assert least <= _interrupt(world) - began <= least + works + WINDOW_OF_CPU + world.rules.probe_every


def test_to_be_told_to_work_is_no_work() -> None:
    world = _at_work(jobs=1)
    world.doomed = True
    world.watch(5)
    moved = world.moved
    world.behave("works")
    world.watch(1)
    assert (world.mode, world.moved) == ("deaf", moved)


def _happens(world: World, chance: random.Random) -> None:  # noqa: C901  # a list
    """Let something happen to the world."""
    what = chance.randrange(24)
    if what < 6:
        for _ in range(chance.randrange(1, 9)):
            world.submit()
    elif what < 10:
        world.behave("works")
    elif what < 13:
        world.submit()
        world.behave(chance.choice(MODES))
    elif what < 16:
        world.send(chance.choice("SSStT"))
    elif what == 16:
        world.crash()
    elif what == 17:
        chance.choice([world.reexec, world.delete])()
    elif what == 18:
        world.stop()
    elif what == 19:
        chance.choice([world.forgive, world.operator_restart])()
    elif what == 20:
        world.sleep(chance.choice([31.0, 600.0, 30000.0]))
    else:
        _changes(world, chance)


def _changes(world: World, chance: random.Random) -> None:
    """Change the world's surroundings, mostly for the better."""
    world.maintenance = chance.random() < 0.1
    world.company = chance.random() < 0.2
    world.fault = "Xid 79" if chance.random() < 0.03 else ""
    world.doomed = chance.random() < 0.3
    world.strong, world.killable = chance.random() < 0.9, chance.random() < 0.9
    world.start_takes = chance.choice([5.0, 60.0, 900.0])


def _is_helped(world: World, luck: float) -> None:
    """Let an operator do now and then what only he can."""
    if luck > 0.9 and world.place == "stopped":
        world.start()
    if luck > 0.99 and world.hold and world.hold_until is None:
        world.fault = ""
        world.forgive()


@pytest.mark.parametrize("part", range(PARTS))
def test_a_random_walk(part: int) -> None:
    """Keep the promises over a million looks in four parts, about a month and a half of an instance's life."""
    print(f"POLICY_SEED={SEED}")  # noqa: T201  # pytest shows it where the walk fails
    chance = random.Random(f"{SEED}-{part}")
    world = World()
    for _ in range(STEPS):
        luck = chance.random()
        if luck < 0.02:
            _happens(world, chance)
        _is_helped(world, luck)
        world.advance(world.pause())
        if luck > 0.98:
            world.look(*(chance.random() < 0.7 for _ in range(4)))
        else:
            world.look()
    assert world.restarts > STEPS / 5000, "nothing happened"
