"""``comfy-supervisor service``: systemd's unit, and what is asked of systemd."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from .. import __version__, disk, plan
from ..errors import UserError
from ..model import File
from ..service import GPU_UNIT, MARK, UNIT, Site, gpu_unit, unit
from ..settings import Loaded, expanded
from . import service_folders, service_models, service_site, up, writing
from .common import refuse_elsewhere, tell_notes, with_settings
from .render import command as render
from .service_site import DEFAULT_ACCOUNT
from .systemctl import Systemd
from .writing import carried_out

CTL_MARK = "; Written by comfy-supervisor"
KEPT = ".before-comfy-supervisor"
"""What is added to the name of an owner's unit that ours takes the place of."""

user_option = click.option("--user", is_flag=True, help="Your own unit, rather than the machine's.")


@click.group("service")
def command() -> None:
    """The unit is comfyui-headless.service: supervisord in the foreground, as an account that is not root.

    It renders anew before each start; systemctl reload takes changed settings over, as comfy-supervisor apply does.
    """


@command.command("install")
@user_option
@click.option("--account", metavar="NAME", help=f"Whom to run as. Default: comfyui.user, else {DEFAULT_ACCOUNT}.")
@click.option("--create-user", is_flag=True, help="Create that account if this machine has none of its name.")
@click.option("--print", "print_it", is_flag=True, help="Print the unit; change nothing.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--no-start", is_flag=True, help="Enable it for the next boot; start nothing now.")
@click.option("--into", metavar="DIR", help="Write the programs into an existing supervisord's conf.d instead.")
@functools.partial(with_settings, as_owner=False)
@click.pass_context
def install(
    ctx: click.Context,
    loaded: Loaded,
    user: bool,
    account: str | None,
    create_user: bool,
    print_it: bool,
    dry_run: bool,
    no_start: bool,
    into: str | None,
) -> int:
    """Write the unit, enable it and start it.

    Done again, it takes what has changed over. A unit of that name that is not ours is kept aside.
    """
    refuse_elsewhere(loaded)
    if into:
        return _into(ctx, loaded, into, look_only=dry_run or print_it)
    systemd = Systemd(user)
    if not print_it and not dry_run:
        systemd.refuse_root()
        systemd.refuse_without_rights()
    name = account or loaded.settings.comfyui.user or DEFAULT_ACCOUNT
    runner = None if user else service_site.runner(name, create=create_user)
    installation = plan.installed(loaded)
    elsewhere = service_site.models(loaded, installation, runner)
    site = service_site.choose(loaded, installation, runner, elsewhere)
    service_models.tell(elsewhere, site.writable, name)
    files = [File(systemd.folder / UNIT, unit(site), mode=0o644)]
    if not user:
        files.append(File(systemd.folder / GPU_UNIT, gpu_unit(__version__), mode=0o644))
        files += _for_supervisorctl(site)
    if print_it:
        click.echo(files[0].content, nl=False)
    elif dry_run:
        if runner and not runner.exists:
            click.echo(f"would create the account {name}")
        _foretell(files, start=not no_start)
    else:
        if runner:
            service_site.refuse_hidden(loaded, installation, site, elsewhere)
            owner = service_site.created(runner)
            service_site.refuse_out_of_reach(loaded, installation, owner, elsewhere)
            service_folders.make(loaded, site, owner)
        _carry_out(systemd, files, start=not no_start)
    return 0


def _into(ctx: click.Context, loaded: Loaded, folder: str, *, look_only: bool) -> int:
    """Write the programs for another supervisord."""
    config = str(loaded.file) if loaded.file else None
    service_site.refuse_a_former_services_folders(loaded, Path.cwd() / expanded(folder, "--into"))
    options = {
        "output": str(expanded(folder, "--into")),
        "fragment": True,
        "check": look_only,
        "diff": False,
        "stdout": False,
    }
    code: int = ctx.invoke(render, config=config, **options)
    if not look_only:
        click.echo("Next: supervisorctl update")
    return code


def _for_supervisorctl(site: Site) -> list[File]:
    """Return what lets a bare ``supervisorctl`` of our virtual environment find the service: none where it can't.

    Not a link to the rendered file, as `up` makes it: that is the account's, and what root's supervisorctl reads can
    have it execute things (``supervisor.ctl_factory``).
    """
    own = writing.for_supervisorctl()
    if sys.prefix == sys.base_prefix or (own.exists() and not own.is_symlink() and not _is_ours(own)):
        return []
    return [
        File(own, f"{CTL_MARK} {__version__}\n[supervisorctl]\nserverurl=unix://{site.run}/supervisor.sock\n", 0o644)
    ]


def _foretell(files: Sequence[File], *, start: bool) -> None:
    """Say what would be done."""
    for theirs, aside in _asides(files[0].path):
        click.echo(f"would stop {UNIT}, and keep {theirs} as {aside.name}")
    for file in filter(disk.differs, files):
        click.echo(f"would write {file.path}")
    click.echo(f"would enable{' and start' if start else ''} {UNIT}")


def _carry_out(systemd: Systemd, files: Sequence[File], *, start: bool) -> None:
    """Put the units in their places, and have systemd take them over."""
    systemd.linger()
    own = files[0].path
    asides = _asides(own)
    if asides:
        systemd.tell("stop", UNIT)
    for theirs, aside in asides:
        theirs.rename(aside)
        click.echo(f"kept {theirs} as {aside}")
    for file in files:
        disk.make_folder(file.path.parent)
    changed = disk.write(files)
    for path in changed:
        click.echo(f"wrote {path}")
    systemd.tell("daemon-reload")
    for drop_in in systemd.drop_ins(UNIT):
        click.echo(f"{drop_in} stays in force")
    systemd.tell("enable", UNIT)
    if start:
        systemd.tell("reset-failed", UNIT)
        systemd.tell("restart" if changed else "start", UNIT)
    started = " and started" if start else ""
    logs = f"service logs{' --user' * systemd.user} -f"
    click.echo(f"{UNIT} is enabled{started}. comfy-supervisor {logs} shows what it does.")


def _is_ours(file: Path) -> bool:
    return (disk.current(file) or "").startswith((MARK, CTL_MARK))


def _asides(own: Path) -> list[tuple[Path, Path]]:
    """Return a unit that is not ours, with its drop-ins, each with where it is to be kept; none if there is none.

    Drop-ins of an older unit would stay in force: its User=, its ExecStart=.
    """
    if _is_ours(own) or not own.exists():
        return []
    theirs = (own, own.with_name(f"{own.name}.d"))
    return [(path, _free(path)) for path in theirs if path.exists()]


def _free(path: Path) -> Path:
    """Return a name to keep something by, beside those kept before."""
    names = itertools.chain([f"{path.name}{KEPT}"], (f"{path.name}{KEPT}.{number}" for number in itertools.count(2)))
    return next(each for each in map(path.with_name, names) if not each.exists())


@command.command("uninstall")
@user_option
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def uninstall(user: bool, dry_run: bool) -> None:
    """Stop it and remove its units. Models, outputs, settings, the jobs and the account stay."""
    systemd = Systemd(user)
    own = systemd.folder / UNIT
    ours = [path for path in (own, systemd.folder / GPU_UNIT) if _is_ours(path)]
    if not user and _is_ours(writing.for_supervisorctl()):
        ours.append(writing.for_supervisorctl())
    if own not in ours:
        raise UserError(f"{own}: {'not ours' if own.exists() else 'not there'}; nothing to uninstall")
    if not dry_run:
        systemd.refuse_without_rights()
        systemd.tell("disable", "--now", *(path.name for path in ours if path.parent == own.parent))
    for path in ours:
        if not dry_run:
            path.unlink()
        click.echo(f"{'would remove' if dry_run else 'removed'} {path}")
    if not dry_run:
        systemd.tell("daemon-reload")
    for kept in sorted((*own.parent.glob(f"{UNIT}{KEPT}*"), *own.parent.glob(f"{UNIT}.d{KEPT}*"))):
        click.echo(f"The unit that was there before is in {kept}")


@command.command("prepare", hidden=True)
@with_settings
def prepare(loaded: Loaded) -> int:
    """Render for a start that follows at once: what the unit does before it runs supervisord."""
    refuse_elsewhere(loaded)
    made = plan.make(loaded)
    tell_notes(made)
    with carried_out(made) as now:
        up.prepare(now)
    return 0


def _asks(name: str, summary: str, *options: str) -> None:
    """Add a verb that is systemctl's."""

    @command.command(name, help=summary)
    @user_option
    def ask(user: bool) -> None:
        Systemd(user).become("systemctl", *options, name, UNIT)


_asks("start", "Have systemd start it.")
_asks("stop", "Have systemd stop it, until the next boot.")
_asks("restart", "Have systemd stop and start it.")
_asks("status", "Show what systemd knows of it.", "--no-pager")


@command.command("logs")
@user_option
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is added.")
@click.option("-n", "--lines", type=click.IntRange(0), default=50, show_default=True, help="How many from the end.")
def logs(user: bool, follow: bool, lines: int) -> None:
    """Show what it says itself, from systemd's journal.

    ComfyUI's own log: comfy-supervisor logs.
    """
    options = ("--no-pager", "--lines", str(lines), *(["--follow"] if follow else []))
    Systemd(user).become("journalctl", "--unit", UNIT, *options)
