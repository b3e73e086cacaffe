"""The rendered service that a command is about."""

from __future__ import annotations

import contextlib
import functools
import time

import click

from .. import exchange, machine, paths, presence, rendered, rpc
from ..errors import UserError
from ..health import orders
from ..launch import holds, starts
from ..rendered import Rendered, Service
from ..settings import Loaded
from .common import F, warn, with_usable_settings

STOP_PATIENCE = 4000.0
"""Seconds: more than the longest ``restart.stop_seconds``, after which supervisord kills by itself."""


def read(loaded: Loaded) -> Service:
    """Return what is rendered; raises UserError if nothing is."""
    return rendered.read(paths.choose(loaded, machine.look()).conf)


def supervisor(service: Service) -> rpc.Supervisor:
    """Return a supervisord that answers, what a command that was killed had meant to start again then done.

    Raises UserError if it doesn't answer.
    """
    found = rpc.Supervisor(service.url)
    state = found.state()
    if isinstance(state, rpc.Failure):
        raise UserError(presence.silence(service.socket, state, service.conf))
    exchange.finish(service.conf.parent, found, warn)
    return found


def tell_if_down(service: Service) -> None:
    """Say of an order that was given that nobody hears it yet, if supervisord doesn't run."""
    if presence.abandoned(service.socket):
        warn(f"supervisord isn't running: this takes effect once it does ({presence.starts(service.conf)})")


def with_instances(function: F) -> F:
    """Give a command names as its arguments: it gets a supervisord that answers, and the instances that they mean."""

    @click.argument("names", nargs=-1, metavar="[NAME]...")
    @with_usable_settings
    @functools.wraps(function)
    def wrapped(loaded: Loaded, /, names: tuple[str, ...]) -> None:
        found = read(loaded)
        function(supervisor(found), found.named(names))

    return wrapped  # type: ignore[return-value]


def checked(answer: rpc.Answer[rpc.T]) -> rpc.T:
    """Return what supervisord answered; raises UserError with its words if it refused, or did not answer."""
    if isinstance(answer, rpc.Failure):
        raise UserError(str(answer))
    return answer


def forget_holds(instance: Rendered) -> None:
    """Lift whatever holds an instance back, end its backoff, fill its budget: somebody wants it to start now."""
    with contextlib.suppress(OSError):  # no folder: nothing was counted
        orders.reset(str(instance.run), time.time())
    holds.clear(str(instance.run))
    starts.forget(str(instance.state))
