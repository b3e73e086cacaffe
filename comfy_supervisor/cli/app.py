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
    },
    "Look": {
        "status": "Show what runs, and whether its API answers.",
        "logs": "Show ComfyUI's log.",
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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table, without importing a single command."""
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First time? comfy-supervisor up. Something wrong? comfy-supervisor doctor.",
)
@click.option("-c", "--config", metavar="FILE", help="The settings file, instead of the one that is found.")
@click.pass_context
def app(ctx: click.Context, config: str | None) -> None:
    """Keep a headless ComfyUI generating: the right flags, under supervisord, one instance a GPU."""
    ctx.obj = config


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit code. Nothing that a user can mend ends in a traceback."""
    try:
        code = app.main(args=None if argv is None else list(argv), prog_name="comfy-supervisor", standalone_mode=False)
    except UserError as error:
        return _complain(error)
    except click.ClickException as error:
        error.show()
        return MISTAKE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SystemExit:  # click's way to end when the reader of our output has seen enough
        return FINE
    except Exception as error:  # noqa: BLE001  # the last line of defence
        return _unexpected(error)
    return code if isinstance(code, int) else FINE


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
