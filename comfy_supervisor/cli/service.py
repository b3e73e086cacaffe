"""The rendered service that a command is about."""

from __future__ import annotations

from .. import machine, paths, presence, rendered, rpc
from ..errors import UserError
from ..launch import holds, starts
from ..rendered import Rendered, Service
from ..settings import Loaded

STOP_PATIENCE = 4000.0
"""Seconds: more than the longest ``restart.stop_seconds``, after which supervisord kills by itself."""


def places(loaded: Loaded) -> paths.Paths:
    """Return the folders that the settings mean."""
    return paths.choose(loaded, machine.look())


def read(loaded: Loaded) -> Service:
    """Return what is rendered; raises UserError if nothing is."""
    return rendered.read(places(loaded).conf)


def supervisor(service: Service) -> rpc.Supervisor:
    """Return a supervisord that answers; raises UserError if it doesn't."""
    found = rpc.Supervisor(service.url)
    state = found.state()
    if isinstance(state, rpc.Failure):
        raise UserError(presence.silence(service.socket, state))
    return found


def checked(answer: rpc.Answer[rpc.T]) -> rpc.T:
    """Return what supervisord answered; raises UserError with its words if it refused, or did not answer."""
    if isinstance(answer, rpc.Failure):
        raise UserError(str(answer))
    return answer


def forget_holds(instance: Rendered) -> None:
    """Lift whatever holds an instance back, and end its backoff: somebody wants it to start now."""
    holds.clear(str(instance.run))
    starts.forget(str(instance.state))
