"""What befalls the instances from outside: when, by the seed alone, and what that does."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .faults import AILS, FAULTS, YEAR, Fault
from .instance import Instance, Place
from .ours import Ours

if TYPE_CHECKING:
    from .simulation import Simulation


@dataclass(frozen=True)
class Event:
    """One of them."""

    at: float
    fault: Fault
    instance: int | None
    """Whom it befalls; None: the machine."""
    lasts: float
    """Seconds, where that says anything."""


def schedule(seed: int, instances: int, seconds: float, often: float) -> list[Event]:
    """Return what happens in so many seconds, in order; ``often``: how many times as often as by nature."""
    events: list[Event] = []
    for fault in FAULTS:
        if fault.of == "job":
            continue
        for whom in range(instances) if fault.of == "instance" else (None,):
            chance = random.Random(f"{seed} {fault.name} {whom}")
            at = chance.expovariate(fault.rate * often / YEAR)
            while at < seconds:
                events.append(Event(at, fault, whom, chance.uniform(*fault.lasts)))
                at += chance.expovariate(fault.rate * often / YEAR)
    return sorted(events, key=lambda event: event.at)


def happen(event: Event, simulation: Simulation) -> None:
    """Have it happen."""
    name, lasts = event.fault.name, event.lasts
    if event.instance is None:
        _MACHINE[name](simulation, lasts)
        return
    one = simulation.instances[event.instance]
    if one.planned or (one.onset and name not in _ALWAYS):
        return  # it befalls nobody
    if name in AILS:
        one.sicken(AILS[name], lasts)
    else:
        _INSTANCE[name](one, lasts)


def _gpu_lost(one: Instance, _: float) -> None:
    if one.sicken(AILS["gpu_lost"]):
        one.gpu = "Xid 79: the GPU has fallen off the bus"


def _ends(text: str) -> Callable[[str], Callable[[Instance, float], None]]:
    def of(name: str) -> Callable[[Instance, float], None]:
        def end(one: Instance, _: float) -> None:
            if one.is_well:
                one.account()
                one.trouble(name)
                one.end(text)

        return end

    return of


def _update(name: str) -> Callable[[Instance, float], None]:
    """Return what happens when an update, or another program, breaks the next starts."""

    def broken(one: Instance, _: float) -> None:
        if one.is_well:
            one.trouble(name)
            one.broken = name
            one.restart("an operator") if name != "port_taken" else one.end(_CRASH)
            one.onset = one.onset or (name, one.now)

    return broken


def _pause(one: Instance, lasts: float) -> None:
    if one.place is Place.UP and not one.paused:
        one.pause(on=True)
        one.clockwork.at(one.now + lasts, _resume, one)


def _resume(one: Instance) -> None:
    one.pause(on=False)


def _restart(one: Instance, _: float) -> None:
    if one.place is Place.UP:
        one.restart("an operator")


def _reexec(one: Instance, _: float) -> None:
    if one.place is Place.UP and one.is_well:
        one.reexec()


def _interrupt(one: Instance, _: float) -> None:
    if one.answers and one.queue.running:
        one.queue.interrupt()
        one.give_up()


_CRASH = "exited: terminated by SIGSEGV; not expected"
_INSTANCE: dict[str, Callable[[Instance, float], None]] = {
    "gpu_lost": _gpu_lost,
    "crash": _ends(_CRASH)("crash"),
    "kill": _ends("exited: terminated by SIGKILL; not expected")("kill"),
    **{name: _update(name) for name in ("crash_loop", "misconfigured", "port_taken")},
    "reexec": _reexec,
    "stop": lambda one, lasts: one.stop(lasts),
    "restart": _restart,
    "pause": _pause,
    "delete": lambda one, _: one.queue.delete(every=False) if one.answers else None,
    "clear": lambda one, _: one.queue.delete(every=True) if one.answers else None,
    "interrupt": _interrupt,
}
_ALWAYS = frozenset({"stop", "delete", "clear", "interrupt"})
"""What happens also to one that is ill."""


def _each_ends(simulation: Simulation, seconds: float) -> list[Instance]:
    """End all that run, with supervisord; return them. They are started again after so many seconds."""
    ended = [one for one in simulation.instances if one.place not in (Place.STOPPED,)]
    for one in ended:
        one.account()
        if one.place is not Place.GONE:
            one.end("")
        one.epoch += 1  # supervisord is gone, too
        one.later(seconds, one.spawn)
    return ended


def _reboot(simulation: Simulation, _: float) -> None:
    simulation.clockwork.note("machine", "reboots")
    _each_ends(simulation, simulation.chance.uniform(40, 180))
    for one in simulation.instances:
        one.boot += 1
        if one.gpu or (one.ail and one.ail.stubborn):
            one.gpu = ""
    if isinstance(simulation.watcher, Ours):
        for patient in simulation.watcher.patients.values():
            simulation.watcher.booted(patient)


def _supervisord(simulation: Simulation, _: float) -> None:
    simulation.clockwork.note("machine", "supervisord dies")
    _each_ends(simulation, 5.0)
    if isinstance(simulation.watcher, Ours):
        simulation.watcher.killed()


def _suspend(simulation: Simulation, lasts: float) -> None:
    simulation.clockwork.note("machine", f"stands still for {lasts:.0f} s")
    for one in simulation.instances:
        one.account()
    simulation.clockwork.skip(lasts)
    for one in simulation.instances:
        one.shift(lasts)


def _clock(simulation: Simulation, lasts: float) -> None:
    simulation.clockwork.jump += lasts


def _all(name: str) -> Callable[[Simulation, float], None]:
    def befall(simulation: Simulation, lasts: float) -> None:
        simulation.clockwork.outage = (name, simulation.clockwork.now + lasts)
        for one in simulation.instances:
            one.sicken(AILS[name], lasts)

    return befall


def _ourselves(begin: Callable[[Ours], None], end: Callable[[Ours], None]) -> Callable[[Simulation, float], None]:
    def befall(simulation: Simulation, lasts: float) -> None:
        ours = simulation.watcher
        if isinstance(ours, Ours):
            begin(ours)
            simulation.clockwork.at(simulation.clockwork.now + lasts, end, ours)

    return befall


def _set(name: str, value: bool) -> Callable[[Ours], None]:
    return lambda ours: setattr(ours.trouble, name, value)


def _fill(full: bool) -> Callable[[Ours], None]:
    def fill(ours: Ours) -> None:
        for patient in ours.patients.values():
            patient.queue.fill(full=full)
            patient.queue.unsettled = True

    return fill


_MACHINE: dict[str, Callable[[Simulation, float], None]] = {
    "reboot": _reboot,
    "pause_of_all": _suspend,
    "suspend": _suspend,
    "clock": _clock,
    "disk_full": _ourselves(_fill(True), _fill(False)),
    "slow_disk": _all("slow_disk"),
    "unreachable": _all("unreachable"),
    "supervisord": _supervisord,
    "rpc": _ourselves(_set("supervisord", True), _set("supervisord", False)),
    "listener": _ourselves(lambda ours: ours.killed(), lambda _: None),
    "nvml": _ourselves(_set("nvml", True), _set("nvml", False)),
    "own_trouble": _ourselves(_set("probes", True), _set("probes", False)),
}


def names() -> Sequence[str]:
    """Return the names of all that can happen from outside."""
    return (*_INSTANCE, *_MACHINE, *AILS)
