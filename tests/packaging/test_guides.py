"""The commands that the guides tell people to type are commands that there are."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from comfy_supervisor.cli.app import app
from comfy_supervisor.cli.verbs import Verbs

GUIDES = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
COMMAND = re.compile(r"(?:^|[`\s])comfy-supervisor ((?:[a-z-]+ ?|--?[a-z-]+ ?)+)", re.MULTILINE)


def typed(guide: Path) -> list[list[str]]:
    """Return the words of each command line, in code."""
    text = guide.read_text()
    code = [*re.findall(r"```\n(.*?)```", text, re.DOTALL), *re.findall(r"`(comfy-supervisor [^`]+)`", text)]
    return [match.split() for part in code for match in COMMAND.findall(part)]


def unknown(words: list[str]) -> str:
    """Return the word that is neither a command nor an option; empty if all are."""
    command = app.get_command(click.Context(app), words[0])
    if command is None:
        return words[0]
    if isinstance(command, Verbs) and not set(words[1:]) & set(command.commands):
        command = command.commands["list"]
    for word in words[1:]:
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        if word.startswith("--") and word not in options | {"--help"}:
            return word
        if isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
    return ""


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_each_command_is_one(guide: Path) -> None:
    wrong = {" ".join(words): bad for words in typed(guide) if (bad := unknown(words))}
    assert not wrong
