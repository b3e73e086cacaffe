"""Many faults at a time, each in a ward that no other disturbs."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from queue import Empty, SimpleQueue
from zlib import crc32

from tests.bench.report import note
from tests.proof.plan import Plan
from tests.proof.results import ROOT

from .common import NotHereError
from .fault import Fault, Seen, judge
from .trial import admitted, attempt
from .ward import Ward

AT_ONCE = 6
"""Wards; the machine's cores are what they share."""
LOGS = ROOT / "build" / "proof" / "faults"
"""Where the listener's logs of faults are kept that did not end as they have to."""
Task = tuple[Fault, int]
Found = dict[Fault, list[Seen]]


def run(faults: Sequence[Fault], plan: Plan) -> tuple[Found, list[str]]:
    """Try each fault so many times; return what was seen, and what an audit of all decisions finds wrong."""
    tasks: SimpleQueue[Task] = SimpleQueue()
    for task in _in_order(faults, plan):
        tasks.put(task)
    found: Found = {fault: [] for fault in faults}
    core, wrong = threading.Lock(), list[str]()

    def work(_worker: int) -> None:
        with ExitStack() as stack:
            worker = _Worker(stack, plan.seed, wrong)
            while True:
                try:
                    fault, turn = tasks.get_nowait()
                except Empty:
                    break
                with core if fault.alone else nullcontext():
                    found[fault].append(worker.tried(fault, turn))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(work, range(AT_ONCE)))
    return found, wrong


def _in_order(faults: Sequence[Fault], plan: Plan) -> list[Task]:
    """Return what is to be done: first what needs a ward of its own, which takes longest; else by chance."""
    tasks = [(fault, turn) for turn in range(plan.repeat) for fault in faults]
    random.Random(plan.seed).shuffle(tasks)
    return sorted(tasks, key=lambda task: (task[0].settings is None, not task[0].alone))


class _Worker:
    """Takes a fault after the other, those that need no ward of their own in the same one."""

    def __init__(self, stack: ExitStack, seed: int, wrong: list[str]) -> None:
        self._stack, self._seed, self._wrong = stack, seed, wrong
        self._shared: tuple[Ward, ExitStack] | None = None

    def tried(self, fault: Fault, turn: int) -> Seen:
        """Try a fault, and return what was seen; never raises."""
        try:
            seen = self._tried(fault, turn)
        except NotHereError as error:
            seen = Seen(not_tried=str(error))
        except Exception as error:  # noqa: BLE001  # of the ward's own coming up or going down
            seen = Seen(complaints=[f"no ward for it: {error!s:.300}"])
        wrong = [] if seen.not_tried else judge(fault.expected, seen)
        note(f"faults: {fault.number} {fault.name}: {seen.not_tried or '; '.join(wrong) or 'as expected'}")
        return seen

    def _tried(self, fault: Fault, turn: int) -> Seen:
        name = f"f{fault.number}-{turn}-{crc32(fault.name.encode())}"
        chance = random.Random(f"{self._seed}/{fault.number}/{fault.name}/{turn}")
        if fault.settings is not None:
            with admitted(fault, chance) as ward:
                seen = _attempted(fault, ward, name)
                self._audit(ward)
                return seen
        ward = self._ward(chance)
        seen = _attempted(fault, ward, name)
        self._renew(ward, seen)
        return seen

    def _ward(self, chance: random.Random) -> Ward:
        if self._shared is None:
            own = self._stack.enter_context(ExitStack())
            self._shared = own.enter_context(admitted(None, chance)), own
        self._shared[0].chance = chance
        return self._shared[0]

    def _renew(self, ward: Ward, seen: Seen) -> None:
        """Make the ward as good as new, or have another one the next time."""
        try:
            ward.anew()
            if not seen.lives:
                ward.ok("restart")  # whatever was done to that process
                ward.wait_for(ward.is_well)
        except Exception as error:  # noqa: BLE001
            note(f"faults: another ward: {error!s:.300}")
            self._audit(ward)
            assert self._shared
            with suppress(Exception):
                self._shared[1].close()
            self._shared = None

    def _audit(self, ward: Ward) -> None:
        for file in ward.state.glob("*/decisions.jsonl"):
            done = ward.run("audit", str(file))
            if "none of them different" not in done.stdout:
                self._wrong.append(f"an audit of decisions: {done.stdout[-300:]}{done.stderr[-300:]}")


def _attempted(fault: Fault, ward: Ward, name: str) -> Seen:
    """Have a fault strike; keep the listener's log of one that does not end as it has to."""
    seen = attempt(fault, ward, name)
    if not seen.not_tried and judge(fault.expected, seen):
        LOGS.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            (LOGS / f"{name}.log").write_text(f"{seen}\n\n{ward.log('comfyui-health')}", encoding="utf-8")
    return seen
