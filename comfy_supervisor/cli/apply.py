"""``comfy-supervisor apply``."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from .. import disk, exchange, plan, presence, rendered, rpc
from ..errors import UserError
from ..exchange import Promise
from ..model import File
from ..plan import Plan
from ..render import changes, reader
from ..render.changes import Change
from ..rendered import Rendered, Service
from ..settings import Loaded
from . import daemon, refusals, supervised, waiting
from .app import FINE
from .common import refuse_elsewhere, tell_notes, warn, with_settings
from .writing import carried_out, write_all


@click.command("apply")
@click.option("--dry-run", is_flag=True, help="Only show what would be restarted, and why.")
@click.option("--no-wait", is_flag=True, help="Return once supervisord has the new settings, before any API answers.")
@with_settings
def command(loaded: Loaded, dry_run: bool, no_wait: bool) -> int:
    """What is unchanged goes on undisturbed; what somebody stopped stays stopped.

    supervisord takes a group over as a whole: of several instances, all restart if one changes. The API of each that
    does is waited for, as by up; exit code 1 if one does not get ready.
    """
    refuse_elsewhere(loaded)
    made = plan.make(loaded)
    tell_notes(made)
    if dry_run:
        _show(made, _changes(made))
        return FINE
    refusals.no_torch(made)
    with carried_out(made) as now:
        found = _changes(now)
        _show(now, found)
        started = _take_over(now, found)
    return waiting.wait_in_background(started) if started and not no_wait else FINE


def _changes(made: Plan) -> tuple[Change, ...]:
    """Return what differs between the configuration that runs, or would run, and the new one."""
    old = next((file for file in (made.paths.applied, made.paths.conf) if file.exists()), None)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".conf") as new:
        new.write(made.files[-1].content)
        new.flush()
        return changes.between(reader.sections(old) if old else {}, reader.sections(Path(new.name)))


def _show(made: Plan, found: Sequence[Change]) -> None:
    written = {file.path for file in made.files if disk.differs(file)}
    told = [text for path, text in _beside(made) if path in written]
    if not (told or found):
        told = ["nothing has changed for what runs" if written else "nothing has changed"]
    for text in told:
        click.echo(text)
    for change in found:
        click.echo(f"[{change.section}] {change.effect}:")
        for reason in change.reasons:
            click.echo(f"  {reason}")


def _beside(made: Plan) -> Iterator[tuple[Path, str]]:
    """Yield what a new file means that no program is restarted for."""
    yield made.paths.health, "new limits for the health listener, which takes them over without a restart of anything"
    yield made.paths.notify, "new alerts, which the health listener sends without a restart of anything"
    yield made.paths.extension, "a new place of the extension, at ComfyUI's next start"


def _take_over(made: Plan, found: Sequence[Change]) -> Service | None:
    """Write the configuration and have it taken over; return the service with what was started, if anything was."""
    if presence.running(made.paths.socket) is None:
        write_all(made, made.files)
        click.echo(f"supervisord isn't running; {presence.starts(made.paths.conf)}")
        return None
    supervisor = rpc.Supervisor(f"unix://{made.paths.socket}")
    exchange.finish(made.paths.state, supervisor, warn)
    _refuse_taken_ports(made, found, _stopped(supervised.checked(supervisor.processes())))
    groups = _reload(supervisor, made)
    new = rendered.read(made.paths.conf)
    started = _exchange(supervisor, groups, new)
    disk.write([File(made.paths.applied, made.files[-1].content)])
    if any(not change.restarts and not change.section.startswith("group:") for change in found):
        click.echo("for the rest: comfy-supervisor down, then comfy-supervisor up")
    return replace(new, instances=started) if started else None


def _refuse_taken_ports(made: Plan, found: Sequence[Change], stopped: Collection[str]) -> None:
    """Raise UserError if a stranger holds the port of an instance that will be started."""
    sections = {change.section for change in found}
    to_start = [
        one
        for one in made.instances
        if f"program:{one.program.split(':')[-1]}" in sections and one.program not in stopped
    ]
    refusals.taken_ports(refusals.addresses(made, to_start), made.paths.state)


def _reload(supervisor: rpc.Supervisor, made: Plan) -> rpc.Changes:
    """Write the configuration and have supervisord read it; raises UserError if it refuses, the old one then back."""
    before = [File(file.path, text) for file in made.files if (text := disk.current(file.path)) is not None]
    write_all(made, made.files)
    answer = supervisor.reload_config()
    if isinstance(answer, rpc.Failure):
        disk.write(before)
        raise UserError(f"supervisord refuses the new configuration, the old one is back: {answer}")
    return answer


def _exchange(supervisor: rpc.Supervisor, groups: rpc.Changes, new: Service) -> tuple[Rendered, ...]:
    """Have supervisord forget the groups that go or change, and take in those that come; return what was started.

    One after the other, those beside ComfyUI first: if we are killed, the health listener is there to finish it.
    """
    processes = supervised.checked(supervisor.processes())
    stopped = _stopped(processes)
    ours = {one.program.split(":")[0] for one in new.instances}
    coming = sorted((*groups.changed, *groups.added), key=ours.__contains__)
    taken_in = [one for one in new.instances if one.program.split(":")[0] in coming]
    stay = {one.program: str(one.run) for one in taken_in if one.program in stopped}
    starts = {each.program: each.start for each in processes if each.group in coming and each.program not in stopped}
    with daemon.signals_later(), exchange.promised(new.conf.parent, Promise(starts, tuple(coming), stay)):
        for group in groups.removed:
            _forget(supervisor, group)
        for group in coming:
            if group in groups.changed:
                _forget(supervisor, group)
            supervised.checked(exchange.take_in(supervisor, group, stay))
            click.echo(f"{group}: started")
    for program in stay:
        click.echo(f"{program}: stays stopped")
    return tuple(one for one in taken_in if one.program not in stay)


def _forget(supervisor: rpc.Supervisor, group: str) -> None:
    """Stop a group and have supervisord forget it."""
    supervised.checked(supervisor.stop_group(group, patience=supervised.STOP_PATIENCE))
    supervised.checked(supervisor.remove_group(group))
    click.echo(f"{group}: stopped")


def _stopped(processes: Iterable[rpc.Process]) -> set[str]:
    """Return the programs that somebody stopped."""
    return {process.program for process in processes if process.statename == "STOPPED"}
