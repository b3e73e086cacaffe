"""``comfy-supervisor apply``."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from .. import disk, plan, presence, rendered, rpc
from ..errors import UserError
from ..launch import holds
from ..model import File
from ..plan import Plan
from ..render import changes, reader
from ..render.changes import Change
from ..rendered import Rendered, Service
from ..settings import Loaded
from . import service
from .common import refuse_elsewhere, warn, with_settings
from .locking import locked
from .render import make_folders, write_all


@click.command("apply")
@click.option("--dry-run", is_flag=True, help="Only show what would be restarted, and why.")
@with_settings
def command(loaded: Loaded, dry_run: bool) -> int:
    """What is unchanged goes on undisturbed; what somebody stopped stays stopped.

    supervisord takes a group over as a whole: of several instances, all restart if one changes.
    """
    refuse_elsewhere(loaded)
    made = plan.make(loaded)
    for note in made.notes:
        warn(note)
    found = _changes(made)
    _show(found)
    if dry_run:
        return 0
    make_folders(made)
    with locked(made.paths):
        _take_over(made, found)
    return 0


def _changes(made: Plan) -> tuple[Change, ...]:
    """Return what differs between the configuration that runs, or would run, and the new one."""
    old = next((file for file in (made.paths.applied, made.paths.conf) if file.exists()), None)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".conf") as new:
        new.write(made.files[-1].content)
        new.flush()
        return changes.between(reader.sections(old) if old else {}, reader.sections(Path(new.name)))


def _show(found: Sequence[Change]) -> None:
    if not found:
        click.echo("nothing has changed")
    for change in found:
        click.echo(f"[{change.section}] {change.effect}:")
        for reason in change.reasons:
            click.echo(f"  {reason}")


def _take_over(made: Plan, found: Sequence[Change]) -> None:
    before = [File(file.path, text) for file in made.files if (text := disk.current(file.path)) is not None]
    runs = presence.running(made.paths.socket) is not None
    write_all(made, made.files)
    if not runs:
        click.echo("supervisord isn't running; comfy-supervisor up starts it")
        return
    supervisor = rpc.Supervisor(f"unix://{made.paths.socket}")
    answer = supervisor.reload_config()
    if isinstance(answer, rpc.Failure):
        disk.write(before)
        raise UserError(f"supervisord refuses the new configuration, the old one is back: {answer}")
    _exchange(supervisor, answer, rendered.read(made.paths.conf))
    disk.write([File(made.paths.applied, made.files[-1].content)])
    if any(not change.restarts and not change.section.startswith("group:") for change in found):
        click.echo("for the rest: comfy-supervisor down, then comfy-supervisor up")


def _exchange(supervisor: rpc.Supervisor, groups: rpc.Changes, new: Service) -> None:
    """Stop and forget the groups that change or go, then take in those that change or come."""
    stopped = _stopped(supervisor)
    for group in (*groups.changed, *groups.removed):
        service.checked(supervisor.stop_group(group, patience=service.STOP_PATIENCE))
        service.checked(supervisor.remove_group(group))
        click.echo(f"{group}: stopped")
    coming = (*groups.changed, *groups.added)
    to_stay = [one for one in new.instances if one.program in stopped and one.program.split(":")[0] in coming]
    with _held_back(to_stay, supervisor):
        for group in coming:
            service.checked(supervisor.add_group(group))
            click.echo(f"{group}: started")


def _stopped(supervisor: rpc.Supervisor) -> set[str]:
    """Return the programs that somebody stopped."""
    processes = service.checked(supervisor.processes())
    return {process.program for process in processes if process.statename == "STOPPED"}


@contextlib.contextmanager
def _held_back(instances: Sequence[Rendered], supervisor: rpc.Supervisor) -> Iterator[None]:
    """Keep instances from starting ComfyUI while supervisord starts their programs, then stop those.

    supervisord starts whatever it takes in; the launcher, though, waits while a hold is up.
    """
    for instance in instances:
        text = "was stopped before the settings were taken over, and stays so"
        holds.write(str(instance.run), holds.Hold(holds.MAINTENANCE, text, time.time()))
    yield
    for instance in instances:
        _wait_for_launcher(instance, supervisor)
        service.checked(supervisor.stop(instance.program))
        holds.clear(str(instance.run))
        click.echo(f"{instance.program}: stays stopped")


def _wait_for_launcher(instance: Rendered, supervisor: rpc.Supervisor, patience: float = 10.0) -> None:
    """Wait until the launcher runs: a signal before that meets supervisord's own handlers, and is lost."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        pid = service.checked(supervisor.process(instance.program)).pid
        with contextlib.suppress(OSError):
            if b"comfy_supervisor.launch" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return
        time.sleep(0.02)
