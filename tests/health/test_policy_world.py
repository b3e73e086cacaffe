"""The eight promises in a toy world: under Hypothesis, and in a long random walk. $POLICY_SEED repeats a walk."""

from __future__ import annotations

import random

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from comfy_supervisor.health.policy import judge as policy
from comfy_supervisor.health.policy.case import Case
from comfy_supervisor.health.policy.evidence import Deed, Failure, Patience
from comfy_supervisor.health.policy.row import Row
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.health.policy.table import TABLE
from tests.support import seed

from .world import GIB, MODES, WINDOW_OF_CPU, World

SEED = seed("POLICY_SEED")
STEPS = 250_000
"""Looks in each part of the walk."""
QUICK = Rules(
    start_grace=60,
    start_quiet=20,
    patience=90,
    stall_after=60,
    stall_api_after=120,
    stall_alert_after=100,
    stall_hard_limit=150,
    paused=60,
    window=1200,
    retry_after=200,
    healthy_after=200,
    memory_limit=8 * GIB,
    recycle_after=600,
)
"""Under which everything comes about before something else happens."""
PARTS = (Rules(), Rules(stall_hard_limit=3600, memory_limit=8 * GIB, recycle_after=7200), QUICK, QUICK)
"""The numbers that each part goes by; every other one has the extension."""


class Machine(RuleBasedStateMachine):
    """What may happen to an instance, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(rules=st.sampled_from(PARTS), extension=st.booleans())
    def begins(self, rules: Rules, extension: bool) -> None:
        self.world = World(rules, extension)

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

    @rule(patience=st.sampled_from(Patience), mode=st.sampled_from(["stalls", "toils"]))
    def gets_a_patient_job(self, patience: Patience, mode: str) -> None:
        self.world.submit_patient(patience)
        self.world.behave(mode)
        self.world.watch(150)

    @rule(outcome=st.sampled_from(Failure))
    def its_jobs_end(self, outcome: Failure) -> None:
        self.world.outcome = outcome
        self.world.watch(90)

    @rule()
    def its_worker_dies(self) -> None:
        self.world.lose_worker()
        self.world.watch(30)

    @rule(paused=st.booleans())
    def its_queue_is_paused(self, paused: bool) -> None:
        (self.world.pause_queue if paused else self.world.resume_queue)()
        self.world.submit()
        self.world.watch(80)

    @rule(xids=st.sampled_from([(), (31,), (7,), (13, 45)]))
    def its_driver_complains(self, xids: tuple[int, ...]) -> None:
        self.world.xids = xids
        self.world.watch(40)

    @rule(device=st.sampled_from(["cuda", "cpu"]), memory=st.sampled_from([1, 9]))
    def computes(self, device: str, memory: int) -> None:
        self.world.device, self.world.memory = device, memory * GIB

    @rule(seen=st.booleans(), intruder=st.booleans(), taken=st.booleans())
    def has_a_port(self, seen: bool, intruder: bool, taken: bool) -> None:
        self.world.port_seen, self.world.intruder, self.world.port_taken = seen, intruder, taken
        self.world.watch(40)

    @rule(misconfigured=st.booleans())
    def is_configured(self, misconfigured: bool) -> None:
        self.world.misconfigured = misconfigured

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

    @rule(doomed=st.booleans(), frail=st.booleans())
    def is_doomed(self, doomed: bool, frail: bool) -> None:
        self.world.doomed, self.world.frail = doomed, frail
        self.world.watch(300)

    @rule(fault=st.sampled_from(["", "Xid 79"]))
    def has_a_gpu(self, fault: str) -> None:
        self.world.fault = fault

    @rule(strong=st.booleans(), killable=st.booleans(), obedient=st.booleans())
    def has_a_hand(self, strong: bool, killable: bool, obedient: bool) -> None:
        self.world.strong, self.world.killable, self.world.obedient = strong, killable, obedient

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


TestPromises = pytest.mark.search(Machine.TestCase)
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
    what = chance.randrange(28)
    if what < 6:
        for _ in range(chance.randrange(1, 9)):
            world.submit()
    elif what < 10:
        world.behave("works")
    elif what < 13:
        world.submit()
        world.behave(chance.choice((*MODES, "refuses", "refuses", "stalls")))
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
    elif what < 25:
        _odd(world, chance)
    else:
        _changes(world, chance)


def _odd(world: World, chance: random.Random) -> None:
    """Let something happen that is rarer, most often to a job."""
    what = chance.randrange(6)
    if what == 0:
        world.submit_patient(chance.choice([Patience.REMOTE, Patience.ENDLESS]))
        world.behave(chance.choice(["stalls", "toils"]))
    elif what == 1:
        world.outcome = chance.choice([Failure.STICKY, Failure.CUDA, Failure.OTHER])
    elif what == 2:
        world.submit()
        world.lose_worker()
    elif what == 3:
        world.pause_queue()
        world.submit()
    elif what == 4:
        world.xids = chance.choice([(31,), (7,), (13, 45)])
    else:
        world.memory = 9 * GIB


def _changes(world: World, chance: random.Random) -> None:
    """Change the world's surroundings, mostly for the better."""
    world.maintenance = chance.random() < 0.1
    world.company = chance.random() < 0.2
    world.fault = "Xid 79" if chance.random() < 0.3 else ""
    world.doomed = chance.random() < 0.3
    world.obedient = chance.random() < 0.5
    world.strong, world.killable = chance.random() < 0.9, chance.random() < 0.9
    world.frail = chance.random() < 0.05
    world.start_takes = chance.choice([5.0, 0.1 * world.rules.start_grace, 1.5 * world.rules.start_grace])
    world.outcome = chance.choice([Failure.NONE, Failure.NONE, Failure.CUDA])
    world.resume_queue()
    world.device = "cpu" if chance.random() < 0.06 else "cuda"
    world.port_seen, world.port_taken = chance.random() < 0.4, chance.random() < 0.06
    world.intruder, world.misconfigured = chance.random() < 0.05, chance.random() < 0.06


def _is_helped(world: World, luck: float) -> None:
    """Let an operator do now and then what only he can."""
    if luck > 0.9 and world.place == "stopped":
        world.start()
    elif luck > 0.9 and world.place == "up":
        world.fault = ""
    if luck > 0.99 and world.hold and world.hold_until is None:
        world.fault, world.device = "", "cuda"
        world.misconfigured = world.port_taken = False
        world.forgive()


class Reached:
    """Which rows of the table have decided, and which of them on a deed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: set[str] = set()
        self.deeds: set[tuple[str, Deed]] = set()
        self._last = ""
        self._applies = policy.applies
        monkeypatch.setattr(policy, "applies", self._noted)

    def _noted(self, case: Case) -> Row:
        row = self._applies(case)
        self._last = row.name
        return row

    def note(self, deed: Deed) -> None:
        self.rows.add(self._last)
        if deed is not Deed.NOTHING:
            self.deeds.add((self._last, deed))


ACTS = {
    ("gpu-fault", Deed.RESTART),
    ("gpu-fault", Deed.HOLD),
    ("misconfigured", Deed.HOLD),
    ("crashes-for-ever", Deed.HOLD),
    ("stopped-in-its-start", Deed.KILL),
    ("start-hangs", Deed.RESTART),
    ("frozen", Deed.KILL),
    ("poisoned", Deed.RESTART),
    ("cuda-errors", Deed.RESTART),
    ("driver-error", Deed.RESTART),
    ("on-the-cpu", Deed.RESTART),
    ("hold-is-over", Deed.LIFT),
    ("deaf-for-too-long", Deed.RESTART),
    ("nobody-listens", Deed.RESTART),
    ("refused", Deed.RESTART),
    ("deaf", Deed.RESTART),
    ("would-not-give-up", Deed.RESTART),
    ("stalled", Deed.INTERRUPT),
    ("toils-for-too-long", Deed.INTERRUPT),
    ("too-large", Deed.RESTART),
    ("too-old", Deed.RESTART),
}
"""What the table can do to a life …"""
TOLD = {("worker-dead", Deed.RESTART)}
"""… and what it can do where the extension tells it."""
ELSEWHERE = {"fatal", "slowly-on-the-cpu", "queue-unseen"}
"""Rows that other tests reach."""
BY_EXTENSION = {True: {"paused"}, False: {"held-by-an-operator", "worker-dead"}}
"""Those that can't be reached with it, and without it."""


@pytest.mark.search
@pytest.mark.parametrize("part", range(len(PARTS)))
def test_a_random_walk(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the promises over a million looks in four parts, about forty days of an instance's life."""
    print(f"POLICY_SEED={SEED}")  # noqa: T201  # pytest shows it where the walk fails
    chance = random.Random(f"{SEED}-{part}")
    world = World(PARTS[part], extension=bool(part % 2))
    often = 0.04 if world.rules is QUICK else 0.02
    reached = Reached(monkeypatch)
    for _ in range(STEPS):
        luck = chance.random()
        if luck < often:
            _happens(world, chance)
        _is_helped(world, luck)
        world.advance(world.pause())
        if luck > 0.98:
            world.look(*(chance.random() < 0.7 for _ in range(4)))
        else:
            world.look()
        reached.note(world.verdict.deed)
    assert world.restarts > STEPS / 5000, "nothing happened"
    if PARTS[part] is QUICK:
        assert (ACTS | TOLD if world.extension else ACTS) - reached.deeds == set()
        assert {row.name for row in TABLE} - reached.rows - ELSEWHERE == BY_EXTENSION[world.extension]
