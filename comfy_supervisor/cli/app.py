"""The group of commands, and what becomes of an error."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from ..errors import UserError

FINE, NO, MISTAKE, BUG, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes: fine; the answer is no; the user's mistake, nothing changed; our bug; Ctrl-C."""

COMMANDS = {
    "Set up": {
        "init": "Write a settings file with what was found here.",
        "gpus": "Show every GPU, its tier, its flags and the reason for each.",
        "render": "Write supervisord's configuration, proved before it is written.",
        "doctor": "Look for whatever would keep ComfyUI from running.",
    },
    "Run": {
        "up": "Render, prove, and run supervisord.",
        "down": "Stop ComfyUI, then supervisord.",
        "start": "Start ComfyUI, now, whatever held it back.",
        "stop": "Stop ComfyUI; it stays so.",
        "restart": "Stop and start ComfyUI.",
        "apply": "Take changed settings over, restarting only what they change.",
        "reset": "Forgive an instance that was given up.",
        "service": "Have systemd start it at boot.",
        "maintenance": "Have the health listener leave instances alone.",
    },
    "Jobs": {
        "jobs": "Show the jobs that are not done; retry, drop or export them.",
        "pause": "Have no further job begun.",
        "resume": "Have jobs begun again.",
        "drain": "Finish the running job, then stop; what waits is kept.",
    },
    "Look": {
        "check": "Measure whether it is fit for production.",
        "status": "Show what runs, and whether its API answers.",
        "watch": "Show the instances live.",
        "logs": "Show ComfyUI's log.",
        "explain": "Say why ComfyUI failed, from any log of it.",
        "report": "Show uptime, restarts and job times of the last days.",
        "incidents": "Show what went wrong, and why; export it.",
        "notify": "Show who is told of what goes wrong; --test tells them.",
        "audit": "Take the health listener's decisions once more.",
        "version": "Show the versions of all that takes part.",
        "help": "Show the help of a command.",
    },
}
"""Each command's summary; its code is the module of that name beside this one, not imported before it is used."""

SUMMARIES = {name: summary for commands in COMMANDS.values() for name, summary in commands.items()}


class Commands(click.Group):
    """The commands, by the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the table's order."""
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command, from its module."""
        if name not in SUMMARIES:
            return None
        command: click.Command = copy.copy(import_module(f"{__package__}.{name}").command)
        command.help = "\n\n".join(filter(None, [SUMMARIES[name], inspect.cleandoc(command.help or "")]))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names; raises UserError, with the nearest one, if there is none."""
        if args[0] not in SUMMARIES and not args[0].startswith("-"):
            raise UserError(unknown(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table, without importing a single command."""
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


def unknown(name: str) -> str:
    """Return what to say of a command that there isn't."""
    import difflib  # noqa: PLC0415  # nothing that a command line without mistakes needs

    near = difflib.get_close_matches(name, SUMMARIES, n=1)
    hint = f"did you mean {near[0]}?" if near else "comfy-supervisor --help lists them all"
    return f"{name}: no such command; {hint}"


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First time? comfy-supervisor up. Something wrong? comfy-supervisor doctor.",
)
@click.option("-c", "--config", metavar="FILE", help="The settings file, instead of the one that is found.")
@click.pass_context
def app(ctx: click.Context, config: str | None) -> None:
    """Keep a headless ComfyUI generating: the right flags, under supervisord, one instance a GPU."""
    ctx.obj = config
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(MISTAKE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit code. Nothing that a user can mend ends in a traceback."""
    try:
        code = app.main(args=None if argv is None else list(argv), prog_name="comfy-supervisor", standalone_mode=False)
    except UserError as error:
        return _complain(error)
    except click.ClickException as error:
        return _complain(UserError(usage(error)))
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SystemExit:  # click's way to end when the reader of our output has seen enough
        return FINE
    except Exception as error:  # noqa: BLE001  # the last line of defence
        return _unexpected(error)
    return code if isinstance(code, int) else FINE


def usage(error: click.ClickException) -> str:
    """Return what click has to say of a command line, in one line as all our errors are."""
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text[:1].lower() + text[1:].replace(". Did you mean", "; did you mean").replace(
        ". Choose from", "; choose from"
    )
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text}{'' if text.endswith('?') else ';'} {context.command_path} --help tells more" if context else text


def _complain(error: UserError) -> int:
    for problem in error.problems:
        click.echo(f"{click.style('error', fg='red')}: {problem}", err=True)
    return MISTAKE


def _unexpected(error: Exception) -> int:
    """Say whose fault it is: a file's that can't be got at, or ours, and then keep the evidence."""
    from .. import disk  # noqa: PLC0415  # nothing that a command line without mistakes needs
    from .bug import report  # noqa: PLC0415

    if isinstance(error, OSError) and error.filename and error.errno in disk.MENDS:
        return _complain(disk.explained(Path(error.filename), error))
    click.echo(report(), err=True)
    return BUG
