"""Who watches over the instances: nobody but supervisord, or httpok as it is. Ours stands in ``ours``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from comfy_supervisor.health.policy.evidence import Finished, Reply

from .clockwork import Clockwork
from .instance import Instance, Place
from .load import Job

TICK = 60.0
"""Seconds between two of httpok's looks (TICK_60, as its documentation has it) …"""
DEADLINE = 10.0
"""… that it waits for an answer …"""
_STOP = 10.0
"""… and that supervisord waits before it kills (stopwaitsecs)."""


class Watcher(Protocol):
    """What an instance tells of itself to whoever watches over it."""

    def launch(self, instance: Instance) -> None:
        """supervisord has started the program."""

    def up(self, instance: Instance) -> None:
        """Its API answers for the first time in this life."""

    def ended(self, instance: Instance, was_comfyui: bool) -> None:
        """Its process has ended."""

    def stopped(self, instance: Instance) -> None:
        """An operator has stopped it."""

    def restarted(self, instance: Instance) -> None:
        """An operator starts it."""

    def forgiven(self, instance: Instance) -> None:
        """An operator has mended what was wrong."""

    def alarm(self, instance: Instance) -> None:
        """What runs within ComfyUI tells of something that is to be acted upon at once."""

    def finished(self, job: Job, error: str) -> Finished | None:
        """Return what is to be seen of a job that has ended."""


class Plain:
    """supervisord with ``autorestart=true``: what ends is started again."""

    def launch(self, instance: Instance) -> None:
        """Start ComfyUI at once."""
        instance.execute()

    def up(self, instance: Instance) -> None:
        """Know nothing of it."""

    def ended(self, instance: Instance, was_comfyui: bool) -> None:  # noqa: ARG002
        """Count it."""
        instance.accounts.restarts["its own end"] += 1

    def stopped(self, instance: Instance) -> None:
        """Leave it so."""

    def restarted(self, instance: Instance) -> None:
        """Know nothing of it."""

    def forgiven(self, instance: Instance) -> None:
        """Know nothing of it."""

    def alarm(self, instance: Instance) -> None:
        """Nothing runs within ComfyUI."""

    def finished(self, job: Job, error: str) -> Finished | None:  # noqa: ARG002
        """Nobody asks."""
        return None


class Httpok(Plain):
    """superlance's httpok besides: a probe at each TICK_60, a restart at the first that fails.

    As superlance 2.0.0's httpok.py has it: only what is RUNNING is restarted; a refused connection or a bad status
    counts at once (its retry time of 10 s is no shorter than its time-out, so nothing is tried again); there is no
    grace for a start.
    """

    def __init__(self, clockwork: Clockwork, instances: Sequence[Instance]) -> None:
        """Begin with the next tick."""
        self._clockwork, self._instances = clockwork, instances
        clockwork.at(TICK, self._tick)

    def _tick(self) -> None:
        self._clockwork.at(self._clockwork.now + TICK, self._tick)
        for instance in self._instances:  # each has a listener of its own, since one asks one address
            reply = _reply(instance)
            if reply is not Reply.GOOD:
                wait = DEADLINE if reply is Reply.TIMEOUT else 0.0
                self._clockwork.at(self._clockwork.now + wait, self._judge, instance, instance.epoch, reply)

    def _judge(self, instance: Instance, epoch: int, reply: Reply) -> None:
        """Restart what has not answered; one that answered late, within the time-out, has."""
        late = reply is Reply.TIMEOUT and instance.answers
        if epoch != instance.epoch or reply is Reply.GOOD or late:
            return
        stubborn = instance.ail is not None and instance.ail.stubborn
        if stubborn:
            return
        hangs = instance.onset is not None and instance.onset[0] == "hangs"
        if instance.place is Place.STARTING and not (hangs or instance.broken):
            instance.accounts.false["a start"] += 1
        elif instance.is_well:
            instance.accounts.false[instance.ail.name if instance.ail else "well"] += 1
        else:
            instance.noticed()
        instance.accounts.restarts["httpok"] += 1
        instance.later(1.5 if instance.ail is None or instance.ail.ends else _STOP, self._stopped, instance)

    @staticmethod
    def _stopped(instance: Instance) -> None:
        instance.accounts.restarts["its own end"] -= 1
        instance.end("stopped: terminated by SIGTERM")


def _reply(instance: Instance) -> Reply:
    if instance.place is Place.STARTING:
        return Reply.REFUSED
    if instance.place is not Place.UP:
        return Reply.GOOD  # it isn't asked
    return instance.ail.reply if instance.ail else Reply.GOOD
