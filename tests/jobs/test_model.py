"""No job is lost, and none runs twice in a life, whatever is killed at whichever moment.

$JOBS_SEED repeats a walk, $JOBS_HISTORIES makes it longer, $JOBS_EXHAUSTIVE tries each fault at each of its moments.
"""

from __future__ import annotations

import inspect
import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfy_supervisor.cli import dropping
from comfy_supervisor.extension.comfy_supervisor_bridge import hooks, store
from comfy_supervisor.extension.comfy_supervisor_bridge.journal import Journal as ExtensionJournal
from comfy_supervisor.health.senses import vitals
from comfy_supervisor.jobs import porter, replay
from comfy_supervisor.jobs.comfy import Server
from comfy_supervisor.jobs.journal import Journal
from tests import support

from .world import EXTENSION, KILLS, LISTENER, POISONS, SERVER, SIDES, VIEWS, World

SEED = support.seed("JOBS_SEED")
HISTORIES = int(os.environ.get("JOBS_HISTORIES") or 750)
"""Random histories in each of the parts."""
EXHAUSTIVE = bool(os.environ.get("JOBS_EXHAUSTIVE"))
"""Whether a fault is tried each time that a point of the story is passed."""
EVENTS = 40
pytestmark = pytest.mark.timeout(900)
"""Seconds; half a minute of a processor's time each, which a busy machine may take long to find."""
KINDS = ("honest",) * 8 + ("failing", KILLS, POISONS)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place in memory, since everything is written through to the disk there."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # as fast as it gets
    made = Path(tempfile.mkdtemp(dir=where))
    yield made
    shutil.rmtree(made)


Create = Callable[..., World]


@pytest.fixture
def create(folder: Path) -> Iterator[Create]:
    """Give what makes a world in place of the one before it, whose open files would add up."""
    patches, worlds = pytest.MonkeyPatch(), list[World]()

    def end() -> None:
        patches.undo()
        while worlds:
            worlds.pop().close()

    def create_one(view: str = "extension", plan: dict[int, str] | None = None) -> World:
        end()
        worlds.append(_world(folder, patches, view, plan))
        return worlds[-1]

    yield create_one
    end()


def _world(folder: Path, monkeypatch: pytest.MonkeyPatch, view: str, plan: dict[int, str] | None) -> World:
    for file in folder.glob("journal.sqlite*"):
        file.unlink()
    (folder / "pause.json").unlink(missing_ok=True)
    world = World(folder, view, plan)
    monkeypatch.setattr(hooks, "say", world.said.append)
    monkeypatch.setattr(porter, "time", world.clock)
    monkeypatch.setattr(replay, "time", world.clock)
    monkeypatch.setattr(porter, "goes_on", world.goes_on)
    monkeypatch.setattr(store, "connect", world.connect)
    monkeypatch.setattr(dropping, "Journal", world.commands_journal)
    monkeypatch.setattr(dropping, "Comfy", world.commands_comfy)
    monkeypatch.setattr(vitals, "goes_on", world.is_process)
    world.begin()
    return world


def _transactions(journal: type) -> set[str]:
    """Return the public methods that read or write the file."""
    touches = re.compile(r"_transaction\(|self\._(?:do|change)\(")
    methods = inspect.getmembers(journal, inspect.isfunction)
    return {name for name, method in methods if name[0] != "_" and touches.search(inspect.getsource(method))}


def test_every_transaction_and_every_request_is_a_fault_point() -> None:
    assert _transactions(ExtensionJournal) == set(EXTENSION)
    assert _transactions(Journal) == set(LISTENER)
    assert {name for name in vars(Server) if name[0] != "_"} == set(SERVER)


def _story(world: World) -> None:
    """Let happen what passes nearly all fault points."""
    for kind in ("honest", KILLS, "honest", "failing", "honest", "honest", "honest"):
        world.submit(kind)
    for _ in range(2):
        world.turn(6.0)
    for _ in range(4):
        world.work()
    world.miscarry("stopped")
    world.start()
    for _ in range(3):
        world.turn(6.0)
    world.submit()
    world.refusals = 1
    world.submit()
    world.work()
    world.ask()
    world.work()
    world.delete(lambda waiting: waiting[-1])
    for _ in range(2):
        world.turn(6.0)
    world.work()
    world.interrupt()
    world.restart("stalled")
    world.start()
    for _ in range(6):
        world.turn(6.0)
        world.work()
    world.submit(POISONS)
    world.turn(6.0)
    world.work()
    world.turn(6.0)
    world.work()
    world.clear()
    world.submit()
    for _ in range(6):
        world.turn(6.0)
        world.work()
        world.work()
    _more_of_the_story(world)


def _more_of_the_story(world: World) -> None:
    """A restart in the same process, what an operator does, and a disk that is full for a while."""
    for _ in range(4):
        world.submit()
    world.turn(6.0)
    world.work()
    world.die("terminated by SIGKILL")
    world.miscarry("exit status 1")
    world.start()
    world.die("exit status 1")
    world.start()
    world.turn(6.0)
    world.work()
    world.execute_anew()
    for _ in range(2):
        world.turn(6.0)
    world.drop(lambda unfinished: unfinished[-1])
    world.work()
    world.drop(lambda unfinished: unfinished[-1])
    world.pause(on=True)
    world.work()
    world.work()
    world.submit()
    world.fill(full=True)
    for _ in range(2):
        world.turn(6.0)
    world.fill(full=False)
    world.pause(on=False)
    world.submit(KILLS)
    for _ in range(10):
        world.turn(6.0)
        world.work()
        world.start()
        world.work()
        world.start()
    world.retry(lambda aside: aside[-1])
    world.turn(6.0)
    world.drop(lambda unfinished: unfinished[0])
    world.turn(6.0)


def _run(world: World) -> None:
    _story(world)
    world.settle_down()
    world.check()


def _chosen(points: list[str]) -> Iterator[tuple[int, str]]:
    """Give each fault point with some of the moments at which it is passed: the first, the last, and one by chance."""
    passed: dict[str, list[int]] = {}
    for number, point in enumerate(points, start=1):
        passed.setdefault(point, []).append(number)
    chance = random.Random(SEED)
    for point, numbers in passed.items():
        some = {numbers[0], numbers[-1], chance.choice(numbers)}
        for number in numbers if EXHAUSTIVE else sorted(some):
            yield number, point


@pytest.mark.search
@pytest.mark.parametrize("view", VIEWS if EXHAUSTIVE else VIEWS[:-1])
def test_a_fault_at_every_point(create: Create, view: str) -> None:
    """Each fault that each point of a rich story can have."""
    world = create(view)
    _story(world)
    points = list(world.points)
    world.settle_down()
    world.check()
    for number, point in _chosen(points):
        for side in SIDES[point.partition(".")[0]]:
            try:
                _run(create(view, {number: side}))
            except AssertionError as error:
                raise AssertionError(f"JOBS_SEED={SEED}, {side} at {number}, {point}: {error}") from error


def test_the_story_passes_the_fault_points(create: Create) -> None:
    """But for those that only a person's commands pass, an extension that was late, or a request that is lost."""
    passed: set[str] = set()
    for view in VIEWS:
        world = create(view)
        _run(world)
        passed |= {point.partition(",")[0] for point in world.points}
    rooms = {"extension": EXTENSION, "listener": LISTENER, "server": SERVER}
    missed = {f"{room}.{name}" for room, names in rooms.items() for name in names} - passed
    commands = {f"listener.{name}" for name in ("jobs", "beginning", "tally", "reading")}
    rare = {"listener.merge", "listener.set_aside", "listener.unsubmitted", "extension.put_back"}
    assert missed <= commands | rare, missed


def _event(world: World, chance: random.Random) -> None:
    """Let something happen."""
    what = chance.randrange(100)
    if what < 22:
        world.submit(chance.choice(KINDS))
    elif what < 52:
        world.work()
    elif what < 72:
        world.turn(chance.choice([1.0, 3.0, 6.0]))
    elif what < 84:
        world.start()
    else:
        _rare(world, chance)


def _rare(world: World, chance: random.Random) -> None:
    deeds: list[Callable[[], None]] = [
        lambda: world.delete(chance.choice),
        lambda: world.delete(chance.choice),
        world.clear,
        world.interrupt,
        world.ask,
        lambda: world.restart("stalled"),
        lambda: world.restart("recycled"),
        lambda: world.die("terminated by SIGKILL"),
        lambda: world.die("stopped"),
        lambda: world.miscarry("stopped"),
        lambda: world.miscarry("exit status 1"),
        world.listen,
        world.execute_anew,
        lambda: world.pause(on=chance.random() < 0.5),
        lambda: world.fill(full=chance.random() < 0.5),
        lambda: world.fill(full=False),
        lambda: setattr(world, "refusals", 1),
        lambda: world.retry(chance.choice),
        lambda: world.drop(chance.choice),
        *([world.put_odd] * 3 if world.view == "changing" else []),
    ]
    chance.choice(deeds)()


def _plan(chance: random.Random) -> dict[int, str]:
    """Return some faults, as often near each other as far apart."""
    sides = ["comfyui", "listener", "network", "late"]
    return {chance.randrange(1, 400): chance.choice(sides) for _ in range(chance.randrange(12))}


@pytest.mark.parametrize("view", VIEWS)
def test_random_histories(create: Create, view: str) -> None:
    for number in range(HISTORIES):
        seed = f"{SEED}-{number}"
        chance = random.Random(seed)
        try:
            world = create(view, _plan(chance))
            for _ in range(EVENTS):
                _event(world, chance)
            world.settle_down()
            world.check()
        except Exception as error:
            raise AssertionError(f"JOBS_SEED={SEED}, history {number}: {error}") from error
