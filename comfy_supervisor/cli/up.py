"""``comfy-supervisor up``."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType

import click

from .. import disk, plan, presence, programs, rendered, status
from ..comfyui import find
from ..errors import UserError
from ..launch import orphans, ports
from ..model import File, Instance
from ..plan import Plan
from ..rendered import Rendered, Service
from ..settings import Loaded
from ..status import DOWN, Status
from . import daemon
from .app import FINE, NO
from .common import refuse_elsewhere, warn, with_settings
from .locking import locked
from .render import make_folders, socket_of, write_all
from .story import Story

POLL = 0.25


class Ended(BaseException):
    """SIGTERM or SIGHUP arrived."""


@click.command("up")
@click.option("-d", "--detach", is_flag=True, help="Leave supervisord in the background, once the API answers.")
@click.option("--or-standin", is_flag=True, help="If no ComfyUI is found here, run the stand-in: for a first try.")
@with_settings
def command(loaded: Loaded, detach: bool, or_standin: bool) -> int:
    """Shows when the API answers, however long it takes. In the foreground, Ctrl-C stops ComfyUI and supervisord.

    With --detach, exit code 1 if ComfyUI does not get ready; supervisord goes on trying all the same.
    """
    if or_standin:
        loaded = _or_standin(loaded)
    refuse_elsewhere(loaded)
    made = plan.make(loaded)
    for note in made.notes:
        warn(note)
    if loaded.settings.comfyui.directory == find.STANDIN:
        warn("THIS IS THE STAND-IN, NOT COMFYUI: it speaks ComfyUI's API, but generates no images")
    make_folders(made)
    return _background(made) if detach else _foreground(made)


def _or_standin(loaded: Loaded) -> Loaded:
    """Return the settings, with the stand-in for a ComfyUI that is neither named nor found."""
    try:
        plan.installed(loaded)
    except find.NotFoundError as nothing:
        warn(str(nothing))
        comfyui = loaded.settings.comfyui.model_copy(update={"directory": find.STANDIN})
        return replace(loaded, settings=loaded.settings.model_copy(update={"comfyui": comfyui}))
    return loaded


def _background(made: Plan) -> int:
    with locked(made.paths):
        service = _prepare(made)
        daemon.background(service)
    try:
        return _wait(service)
    except KeyboardInterrupt:
        _say("it goes on in the background; comfy-supervisor down stops it")
        raise


def _foreground(made: Plan) -> int:
    """Run supervisord for as long as nobody and nothing ends it, or us."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    with contextlib.suppress(Ended), contextlib.ExitStack() as stack:
        with locked(made.paths):
            service = _prepare(made)
            process = stack.enter_context(daemon.foreground(service))
        return _stay(service, process)
    return FINE


def _prepare(made: Plan) -> Service:
    """Write the configuration, once it is clear that nothing is in the way of running it."""
    written = socket_of(made.paths.conf)
    for address in dict.fromkeys(filter(None, (written, made.paths.socket))):
        daemon.refuse_second(address)
    _refuse_taken_ports(made)
    write_all(made, made.files)
    disk.write([File(made.paths.applied, made.files[-1].content)])
    return rendered.read(made.paths.conf)


def _refuse_taken_ports(made: Plan) -> None:
    """Raise UserError for each port that somebody else holds; what an earlier life of ours holds, the launcher ends."""
    strangers = [text for one in made.instances if (text := orphans.elsewhere(_marks(made, one)))]
    if strangers:
        raise UserError(*strangers)
    listen = made.loaded.settings.comfyui.listen
    found = [
        (instance, text)
        for instance in made.instances
        for address in ports.addresses(programs.addresses(listen, instance.port))
        if (text := ports.trouble(*address)) and not orphans.find(_marks(made, instance))
    ]
    if found:
        raise UserError(*(f"{one.program}: {text}; stop that, or set comfyui.port" for one, text in found))


def _marks(made: Plan, instance: Instance) -> dict[str, str]:
    state = made.paths.instance_state(instance.id)
    return dict(zip(orphans.MARKS, (instance.id, str(state)), strict=True))


def _wait(service: Service) -> int:
    """Wait until every API answers, or it is clear that one won't by itself."""
    story = Story()
    while not story.all_ready:
        statuses = _look(service, story)
        if statuses[0].state == DOWN and presence.running(service.socket) is None:
            raise UserError(f"supervisord has ended; look at {service.log}")
        hopeless = story.gave_up_on(statuses, time.monotonic())
        if hopeless:
            _explain(service, hopeless)
            return NO
        time.sleep(POLL)
    click.echo("In the background now. comfy-supervisor status shows it, comfy-supervisor down stops it.")
    return FINE


def _stay(service: Service, process: subprocess.Popen[bytes]) -> int:
    """Tell what happens, until something ends supervisord; return the exit code."""
    story, seen = Story(), _stamp(service)
    try:
        while process.poll() is None:
            _look(service, story)
            time.sleep(POLL)
            written = _stamp(service)
            if written != seen:  # apply may have changed ports and instances
                with contextlib.suppress(UserError):
                    service, seen = rendered.read(service.conf), written
    except (KeyboardInterrupt, Ended):
        _say("stopping ComfyUI, then supervisord")
        raise
    _say("supervisord has ended")
    return FINE if process.returncode == 0 else NO


def _stamp(service: Service) -> int:
    """Return what changes when the configuration is written anew; 0 if it is gone."""
    try:
        return service.conf.stat().st_mtime_ns
    except OSError:
        return 0


def _look(service: Service, story: Story) -> tuple[Status, ...]:
    """Look once, and say what is new: a line each, and on a terminal one that lives."""
    statuses = status.look(service, with_gpu=False)
    now = time.monotonic()
    sizes = {instance.program: _size(instance) for instance in service.instances}
    for line in story.tell(statuses, sizes, now):
        _say(line)
    if sys.stdout.isatty():
        click.echo(f"\r\x1b[K{story.line(now)}", nl=False)
    return statuses


def _say(line: str) -> None:
    erase = "\r\x1b[K" if sys.stdout.isatty() else ""
    click.echo(f"{erase}{time.strftime('%H:%M:%S')} {line}")


def _size(instance: Rendered) -> int:
    try:
        return instance.log.stat().st_size
    except OSError:
        return 0


def _explain(service: Service, programs: Sequence[str]) -> None:
    for instance in service.named(programs):
        click.echo(f"{instance.program} does not get ready; the end of {instance.log}:", err=True)
        click.echo(daemon.last_words(instance.log), err=True, nl=False)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise Ended
