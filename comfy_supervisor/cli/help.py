"""``comfy-supervisor help [COMMAND]``."""

import click

from ..errors import UserError
from .app import unknown


@click.command("help")
@click.argument("name", required=False, metavar="[COMMAND]")
@click.pass_context
def command(ctx: click.Context, name: str | None) -> None:
    """Without a name: the help of the whole."""
    above = ctx.parent
    if above is None or not isinstance(above.command, click.Group):
        return
    if name is None:
        click.echo(above.get_help())
        return
    found = above.command.get_command(above, name)
    if found is None:
        raise UserError(unknown(name))
    with click.Context(found, info_name=name, parent=above) as inner:
        click.echo(found.get_help(inner))
