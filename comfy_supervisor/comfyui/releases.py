"""What known ComfyUI releases accept on their command line: the record, and a parser rebuilt from it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from ..model import CommandLine, Option

_TYPES: Mapping[str, Callable[[str], Any]] = {"int": int, "float": float}
"""Types whose refusals matter; every other type, ComfyUI's own functions included, takes any string."""

_DEFAULTS = {"--cache-lru": 0}
"""argparse lets an option that is given its own default stand beside the others of its exclusive group,
and for a small integer it notices: ``--cache-lru 0 --cache-classic`` is accepted by every release."""

_MOST_CACHE_RAM = 2
"""``--cache-ram`` takes any number of values for argparse; from 0.23.0 on ComfyUI itself refuses a third."""

_BARE: Mapping[str, Any] = {"--listen": "0.0.0.0,::", "--enable-cors-header": "*", "--verbose": "DEBUG"}
"""What an option with an optional value means without it, the same in every release; True for the others."""

_LOG_LEVELS = ("DEBUG", "DETAIL", "INFO", "WARNING", "ERROR", "CRITICAL")
"""The levels that ``--verbose`` knows from 0.30.0 on."""


@lru_cache(maxsize=1)
def known() -> Mapping[str, CommandLine]:
    """Return the command line of every recorded release, by version, the oldest first.

    Read from ComfyUI's ``comfy/cli_args.py`` at the commits that ``releases.json`` names.
    """
    text = resources.files(__package__).joinpath("releases.json").read_text(encoding="utf-8")
    releases = json.loads(text)["releases"]
    return MappingProxyType({version: _command_line(version, record) for version, record in releases.items()})


def nearest(version: str) -> CommandLine:
    """Return the newest recorded release that is not newer than `version`.

    A version older than all gets the oldest record; one that is unknown (empty, ``master``) the newest.
    """
    releases = tuple(known().values())
    wanted = numbers(version)
    if not wanted:
        return releases[-1]
    older = [release for release in releases if numbers(release.version) <= wanted]
    return older[-1] if older else releases[0]


def argument_parser(command_line: CommandLine) -> argparse.ArgumentParser:
    """Rebuild the parser that a release has: it accepts what ComfyUI accepts and refuses what it refuses.

    Defaults and help texts are not part of the record: what is not given is None. A folder that ComfyUI
    wants to exist (``--user-directory``) need not exist here.
    """
    parser = _Parser(prog="main.py")
    groups = _exclusive_groups(parser, command_line)
    for option in command_line.options.values():
        if option.name != "--help":
            groups.get(option.name, parser).add_argument(option.name, **_argument(option))
    return parser


class _Parser(argparse.ArgumentParser):
    """argparse's parser, with the check that ComfyUI makes after parsing."""

    def parse_args(  # type: ignore[override]  # argparse overloads it for namespaces, of which we give none
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse, and refuse a third value of ``--cache-ram``."""
        result = super().parse_args(args, namespace)
        cache_ram = getattr(result, "cache_ram", None)
        if isinstance(cache_ram, list) and len(cache_ram) > _MOST_CACHE_RAM:
            self.error("--cache-ram accepts at most two values: active GB and inactive GB")
        return result


class _VerboseAction(argparse.Action):
    """``--verbose [LEVEL [FILE]]``, repeatable, as of 0.30.0."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        words = list(values or ())
        if len(words) > len(("LEVEL", "FILE")) or (words and words[0] not in _LOG_LEVELS):
            parser.error(f"{option_string} expects no values, a console LEVEL, or LEVEL FILE")
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), words])


_ACTIONS: Mapping[str, str | type[argparse.Action]] = {
    "_AppendAction": "append",
    "_ExtendAction": "extend",
    "VerboseAction": _VerboseAction,
}
"""The actions that take values otherwise than by storing the last."""


def _exclusive_groups(
    parser: argparse.ArgumentParser, command_line: CommandLine
) -> dict[str, argparse._MutuallyExclusiveGroup]:
    """Make the exclusive groups in the parser; return the group of each option that is in one."""
    groups = {}
    for names in command_line.exclusive:
        group = parser.add_mutually_exclusive_group()
        groups.update(dict.fromkeys(names, group))
    return groups


def _argument(option: Option) -> dict[str, Any]:
    """Return the keywords with which argparse's ``add_argument`` makes the option."""
    if option.nargs == 0:
        return {"action": "store_true"}
    arguments = {
        "nargs": option.nargs,
        "type": _TYPES.get(option.type or "", str),
        "choices": option.choices or None,
        "action": _ACTIONS.get(option.action, "store"),
        "default": _DEFAULTS.get(option.name),
    }
    return {**arguments, "const": _BARE.get(option.name, True)} if option.nargs == "?" else arguments


def _command_line(version: str, record: Mapping[str, Any]) -> CommandLine:
    """Turn one release's record into our type."""
    options = {
        name: Option(
            name=name,
            nargs=facts.get("nargs"),
            type=facts.get("type"),
            choices=tuple(facts.get("choices", ())),
            action=facts["takes"],
        )
        for name, facts in record["options"].items()
    }
    return CommandLine(
        version=version,
        options=MappingProxyType(options),
        exclusive=tuple(tuple(group) for group in record["mutually_exclusive"]),
        source=f"the record of ComfyUI {version}",
    )


def numbers(version: str) -> tuple[int, ...]:
    """Return the three numbers that a version begins with: ``v0.22-5-gabc`` gives (0, 22, 0)."""
    found = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", version.strip())
    return tuple(int(number or 0) for number in found.groups()) if found else ()
