"""A command that has commands of its own, of which ``list`` need not be said."""

from __future__ import annotations

import difflib

import click

from ..errors import UserError


class Verbs(click.Group):
    """What is done with something; ``list``, where nothing is said."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what begins with none of the verbs for arguments of ``list``."""
        first = args[0] if args else ""
        if first not in self.commands and first not in ctx.help_option_names:
            near = difflib.get_close_matches(first, self.commands, n=1)
            if near:
                raise UserError(f"{first}: no such command; did you mean {ctx.info_name} {near[0]}?")
            args = ["list", *args]
        return super().parse_args(ctx, args)
