"""``comfy-supervisor up``."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence
from types import FrameType

import click

from .. import disk, fallback, plan, presence, rendered
from ..comfyui import find
from ..errors import UserError
from ..launch import holds
from ..model import File
from ..plan import Plan
from ..rendered import Service
from ..settings import Loaded
from ..status import Status
from . import daemon, refusals, waiting
from .app import FINE, NO
from .common import refuse_elsewhere, tell_notes, warn, with_settings
from .story import Story
from .writing import carried_out, socket_of, write_all

GIVEN_UP = (holds.GAVE_UP, holds.CONFIGURATION, holds.GPU_FAULT)
"""What no waiting mends, but for …"""
PASSING = 60.0
"""… what the launcher found, which looks on: for so many seconds, a port that was taken may be free again."""


class Ended(BaseException):
    """SIGTERM or SIGHUP arrived."""


class HopelessError(Exception):
    """Nothing goes on without somebody's help."""


@click.command("up")
@click.option("-d", "--detach", is_flag=True, help="Leave supervisord in the background, once the API answers.")
@click.option("--or-standin", is_flag=True, help="If no ComfyUI is found here, run the stand-in: for a first try.")
@click.option("--exit-on-give-up", is_flag=True, help="End, with exit code 1, once every instance is given up.")
@with_settings
def command(loaded: Loaded, detach: bool, or_standin: bool, exit_on_give_up: bool) -> int:
    """Shows when the API answers, however long it takes. In the foreground, Ctrl-C stops ComfyUI and supervisord.

    --exit-on-give-up is for containers: whoever runs one can start it elsewhere, or tell somebody. What may pass by
    itself, such as a port that is taken, has a minute to do so.
    With --detach, exit code 1 if ComfyUI does not get ready; supervisord goes on trying all the same.
    """
    if detach and exit_on_give_up:
        raise UserError("--exit-on-give-up is for the foreground: it doesn't go with --detach")
    reason = ""
    if or_standin:
        loaded, reason = _or_standin(loaded)
    refuse_elsewhere(loaded)
    made = plan.make(loaded)
    tell_notes(made)
    if find.is_standin(made.facts.installation.directory):
        warn(f"THIS IS THE STAND-IN, NOT COMFYUI: it speaks ComfyUI's API, but generates no images{reason}")
    starter = presence.starter_of(made.paths.conf)
    if starter != presence.UP:
        warn(f"there is a service for this: {starter} has it run confined, and started again by systemd")
    refusals.no_torch(made)
    return _background(made) if detach else _foreground(made, exit_on_give_up)


def _or_standin(loaded: Loaded) -> tuple[Loaded, str]:
    """Return the settings, with the stand-in for a ComfyUI that is neither named nor found, and why if so."""
    try:
        plan.installed(loaded)
    except find.NotFoundError as nothing:
        return fallback.with_standin(loaded), f"; {nothing}"
    return loaded, ""


def _background(made: Plan) -> int:
    with carried_out(made) as now:
        service = prepare(now)
        daemon.background(service)
    code = waiting.wait_in_background(service)
    if code == FINE:
        click.echo("In the background now. comfy-supervisor status shows it, comfy-supervisor down stops it.")
    return code


def _foreground(made: Plan, exit_on_give_up: bool) -> int:
    """Run supervisord for as long as nobody and nothing ends it, or us, and, on request, there is hope."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with contextlib.suppress(Ended), contextlib.ExitStack() as stack:
            with carried_out(made) as now:
                service = prepare(now)
                process = stack.enter_context(daemon.foreground(service))
            return _stay(service, process, exit_on_give_up)
    except HopelessError:
        for instance in rendered.read(made.paths.conf).instances:
            holds.clear(str(instance.run))  # whoever starts it again has it tried again
        return NO
    return FINE


def prepare(made: Plan) -> Service:
    """Write the configuration, once it is clear that nothing is in the way of running it."""
    written = socket_of(made.paths.conf)
    for address in dict.fromkeys(filter(None, (written, made.paths.socket))):
        daemon.refuse_second(address)
    refusals.other_supervisords(made)
    refusals.taken_ports(refusals.addresses(made, made.instances), made.paths.state)
    write_all(made, made.files)
    disk.write([File(made.paths.applied, made.files[-1].content)])
    return rendered.read(made.paths.conf)


def _stay(service: Service, process: subprocess.Popen[bytes], exit_on_give_up: bool) -> int:
    """Tell what happens, until something ends supervisord; return the exit code. Raises HopelessError."""
    story, hope, seen = Story(), Hope(), _stamp(service)
    try:
        while process.poll() is None:
            statuses = waiting.look(service, story)
            waiting.explain_deaths(service, story)
            if exit_on_give_up and hope.is_gone(statuses, time.monotonic()):
                waiting.say("all that is to run is given up (--exit-on-give-up): stopping supervisord")
                raise HopelessError
            time.sleep(waiting.POLL)
            written = _stamp(service)
            if written != seen:  # apply may have changed ports and instances
                with contextlib.suppress(UserError):
                    service, seen = rendered.read(service.conf), written
    except (KeyboardInterrupt, Ended):
        waiting.say("stopping ComfyUI, then supervisord")
        raise
    if process.returncode == 0:
        waiting.say("stopped from elsewhere: ComfyUI and supervisord have ended")
        return FINE
    waiting.say(f"supervisord has ended, and nobody asked it to; look at {service.log}")
    return NO


class Hope:
    """Whether there is any that an instance goes on without somebody's help."""

    def __init__(self) -> None:
        """Begin with some."""
        self._since: float | None = None

    def is_gone(self, statuses: Sequence[Status], now: float) -> bool:
        """Tell whether there is none left, by what is seen at a time (seconds that only grow)."""
        given_up = [status.hold for status in statuses if status.hold and status.hold.reason in GIVEN_UP]
        if len(given_up) < len(statuses):
            self._since = None
            return False
        if self._since is None:
            self._since = now
        may_pass = any(hold.by == holds.LAUNCHER for hold in given_up)
        return not may_pass or now - self._since >= PASSING


def _stamp(service: Service) -> int:
    """Return what changes when the configuration is written anew; 0 if it is gone."""
    try:
        return service.conf.stat().st_mtime_ns
    except OSError:
        return 0


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise Ended
