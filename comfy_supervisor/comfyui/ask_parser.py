"""Runs in ComfyUI's interpreter: executes its ``comfy/cli_args.py``, and nothing else of it.

A script for `interpreter.ask`, standard library only. The question: ``{"directory", "argvs"}``; the answer:
``{"options", "exclusive", "refusals"}``, with one refusal (empty: accepted) for each argv, or
``{"failure", "kind"}`` with the kinds ``python`` (too old), ``import`` (a module is missing), ``other``.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import importlib
import importlib.machinery
import json
import os
import sys
import types

OLDEST = (3, 10)
"""The oldest Python that ComfyUI runs on (0.3.0 and later)."""


class Refused(Exception):  # noqa: N818  # it is a verdict, not an error of ours
    """The command line is not accepted; the text is argparse's."""


def main() -> None:
    """Answer the question on standard input."""
    descriptor = int(sys.argv[1])
    question = json.load(sys.stdin)
    try:
        answer = respond(question["directory"], question["argvs"])
    except ImportError as error:
        answer = failure("import", error)
    except BaseException as error:  # noqa: BLE001  # whatever a foreign module raises, SystemExit included
        answer = failure("other", error)
    with open(descriptor, "w", encoding="ascii") as file:
        json.dump(answer, file)


def respond(directory: str, argvs: list[list[str]]) -> dict[str, object]:
    """Describe the parser and try every argv on it."""
    if sys.version_info < OLDEST:
        return {"failure": "Python {}.{}".format(*sys.version_info), "kind": "python"}
    parsers: list[dict[str, object]] = []
    watch_parsers(parsers)
    run = prepare(directory)
    run([])
    if not parsers:
        return {"failure": "it does not parse a command line", "kind": "other"}
    return {**parsers[0], "refusals": [refusal(run, argv) for argv in argvs]}


def failure(kind: str, error: BaseException) -> dict[str, object]:
    """Say what went wrong as the last line of a traceback would."""
    return {"failure": ": ".join(filter(None, [type(error).__name__, str(error)])), "kind": kind}


def watch_parsers(parsers: list[dict[str, object]]) -> None:
    """Have argparse describe each parser before its first use, and raise `Refused` instead of exiting.

    Types that are functions (ComfyUI's ``is_valid_directory``) are made plain strings: what they check,
    that a folder exists, need not be true before the folders are made.
    """
    genuine = argparse.ArgumentParser.parse_known_args

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        parsers.append(describe(self))
        for action in self._actions:
            if action.type is not None and not isinstance(action.type, type):
                action.type = str
        return genuine(self, args, namespace)

    def error(_, message):  # type: ignore[no-untyped-def]
        raise Refused(message)

    argparse.ArgumentParser.parse_known_args = parse_known_args  # type: ignore[method-assign]
    argparse.ArgumentParser.error = error  # type: ignore[method-assign]


def prepare(directory: str):  # type: ignore[no-untyped-def]
    """Return a function that executes ``cli_args.py`` as if ComfyUI had been started with an argv.

    The package ``comfy`` is an empty one of the same path, and torch cannot be imported.
    """
    package = types.ModuleType("comfy")
    package.__path__ = [os.path.join(directory, "comfy")]  # noqa: PTH118  # pathlib takes longer to import than all else here
    sys.modules["comfy"] = package
    sys.modules["torch"] = None  # type: ignore[assignment]  # makes ``import torch`` raise
    sys.path.append(directory)
    path = os.path.join(directory, "comfy", "cli_args.py")  # noqa: PTH118
    loader = importlib.machinery.SourceFileLoader("comfy.cli_args", path)
    code = loader.source_to_code(loader.get_data(path), path)
    with contextlib.suppress(ModuleNotFoundError):  # without comfy.options, it always parses
        importlib.import_module("comfy.options").enable_args_parsing()

    def run(argv: list[str]) -> None:
        sys.argv = ["main.py", *argv]
        module = types.ModuleType("comfy.cli_args")
        module.__file__ = path
        sys.modules["comfy.cli_args"] = module
        exec(code, module.__dict__)  # noqa: S102  # reading this file is what we are here for

    return run


def refusal(run, argv: list[str]) -> str:  # type: ignore[no-untyped-def]
    """Return why the argv is refused; empty if it is accepted."""
    try:
        run(argv)
    except SystemExit as error:
        return f"ends at once with exit status {error.code or 0}"
    except Exception as error:  # noqa: BLE001  # a check of ComfyUI's own after parsing may raise anything
        return str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
    return ""


def describe(parser: argparse.ArgumentParser) -> dict[str, object]:
    """Return the long options and the exclusive groups; argparse has no public way to ask for them."""
    return {
        "options": [option(name, action) for action in parser._actions for name in long_names(action)],  # noqa: SLF001
        "exclusive": [
            [name for action in group._group_actions for name in long_names(action)]  # noqa: SLF001
            for group in parser._mutually_exclusive_groups  # noqa: SLF001
        ],
    }


def long_names(action: argparse.Action) -> list[str]:
    """Return the option's names that begin with two dashes."""
    return [name for name in action.option_strings if name.startswith("--")]


def option(name: str, action: argparse.Action) -> dict[str, object]:
    """Return what can be said of one option in JSON."""
    kind, choices = action.type, action.choices
    if choices is None and isinstance(kind, type) and issubclass(kind, enum.Enum):
        choices = [member.value for member in kind]
    return {
        "name": name,
        "nargs": action.nargs,
        "type": None if kind is None else getattr(kind, "__name__", type(kind).__name__),
        "choices": [str(choice) for choice in choices or ()],
        "action": type(action).__name__,
    }


if __name__ == "__main__":
    main()
