"""What the installed ComfyUI accepts on its command line, asked of its own argument parser.

Its ``comfy/cli_args.py`` is executed in ComfyUI's interpreter, with nothing else of ComfyUI: no torch, no server.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..errors import UserError
from ..model import Account, CommandLine, Installation, Option
from .interpreter import LESS, NoAnswerError, ask, home_of
from .releases import argument_parser

_SCRIPT = Path(__file__).with_name("ask_parser.py")
_FLAGS = ("-I", "-B")
"""Isolated from the PYTHON* variables and the user's packages; no ``__pycache__`` in ComfyUI's folder."""
_MEND = "set it to the Python 3.10 or later that runs ComfyUI"


@dataclass(frozen=True)
class _Answer:
    options: tuple[Option, ...] = ()
    exclusive: tuple[tuple[str, ...], ...] = ()
    refusals: tuple[str, ...] = ()
    failure: str = ""
    kind: str = ""


def read(installation: Installation, *, account: Account | None = None, deadline: float = 10.0) -> CommandLine:
    """Return the options that the installed ComfyUI knows, within `deadline` seconds.

    With an `account`, which only root may give, its file is executed as that one.
    If its interpreter lacks a module that the file imports, ours reads it, and the source says so.
    Raises UserError if the interpreter does not run or the file cannot be executed.
    """
    answer, source = _ask(installation, (), account, deadline)
    options = {option.name: option for option in answer.options}
    return CommandLine(installation.version, MappingProxyType(options), answer.exclusive, source)


def prove(
    installation: Installation,
    argvs: Sequence[Sequence[str]],
    *,
    account: Account | None = None,
    deadline: float = 10.0,
) -> tuple[str, ...]:
    """Return for each argv why the installed ComfyUI would refuse it; empty if it would accept it.

    ``cli_args.py`` is executed once for each, so the checks that it makes after parsing count too. Whether
    a folder exists (``--user-directory``) is not asked: ours are made later. Raises UserError as `read`.
    """
    answer, _ = _ask(installation, argvs, account, deadline)
    return tuple(" ".join(refusal.split()) for refusal in answer.refusals)


def prove_record(command_line: CommandLine, argvs: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Answer as `prove` does, for a release that is not installed: by the parser rebuilt from its record."""
    return tuple(_refusal(command_line, argv) for argv in argvs)


def _refusal(command_line: CommandLine, argv: Sequence[str]) -> str:
    """Return why the rebuilt parser refuses the argv; empty if it accepts it."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
        try:
            argument_parser(command_line).parse_args(argv)
        except SystemExit as end:
            message = printed.getvalue().partition("error: ")[2]
            return " ".join(message.split()) or f"ends at once with exit status {end.code}"
    return ""


def _ask(
    installation: Installation, argvs: Sequence[Sequence[str]], account: Account | None, deadline: float
) -> tuple[_Answer, str]:
    """Ask ComfyUI's interpreter, or ours if that one lacks a module; return the answer and its source."""
    question = {"directory": str(installation.directory), "argvs": [list(argv) for argv in argvs]}
    source = str(installation.directory / "comfy" / "cli_args.py")

    def asked(python: Path) -> _Answer:
        environment = {**os.environ, **home_of(account)}
        answer = ask(
            *(python, _SCRIPT, question, _Answer),
            deadline=deadline,
            flags=_FLAGS,
            environment=environment,
            account=account,
        )
        if not answer.failure and (not answer.options or len(answer.refusals) != len(argvs)):
            raise NoAnswerError(LESS)
        return answer

    try:
        answer = asked(installation.python)
        if answer.kind == "import":
            ours = asked(Path(sys.executable))
            if not ours.failure:
                return ours, f"{source}, read by {sys.executable} ({installation.python}: {answer.failure})"
    except NoAnswerError as error:
        whose = f"as {account.name}: " if account else ""
        text = f'comfyui.python = "{installation.python}": {whose}{error}; {_MEND}'
        raise UserError(text) from None
    if answer.failure:
        raise UserError(_complaint(installation, answer.failure, answer.kind))
    return answer, source


def _complaint(installation: Installation, failure: str, kind: str) -> str:
    """Say in one line what is wrong, and the mend."""
    failure = " ".join(failure.split())
    if kind == "python":
        return f'comfyui.python = "{installation.python}": is {failure}, too old for ComfyUI; {_MEND}'
    mend = "install its requirements" if kind == "import" else "repair or update that ComfyUI"
    return f'comfyui.directory = "{installation.directory}": comfy/cli_args.py cannot be executed ({failure}); {mend}'
