"""The folders of models and custom nodes that ComfyUI is told of beside its own, by files of YAML."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model import Account, Installation
from .interpreter import NoAnswerError, ask, home_of

OPTION = "extra-model-paths-config"
OWN = "extra_model_paths.yaml"
"""In ComfyUI's folder; read where it is there (its main.py)."""
DEADLINE = 20.0
"""Seconds for ComfyUI's interpreter."""
_SCRIPT = Path(__file__).with_name("ask_model_paths.py")


@dataclass(frozen=True)
class _Answer:
    folders: tuple[Any, ...]


def files(directory: Path, arguments: Sequence[str]) -> list[Path]:
    """Return the files that name them: the one in ComfyUI's folder, if there, and those of its options."""
    own = directory.resolve() / OWN
    return [*([own] if own.is_file() else []), *(directory / value for value in _given(arguments))]


def folders(installation: Installation, named_in: Sequence[Path], account: Account | None) -> list[Path]:
    """Return the folders that these files name, whether they are there or not; none if they can't be read.

    ComfyUI's own interpreter reads them, as ``account`` if that is given, whose ``~`` is meant. What it answers is
    believed as far as it is a list of whole paths: that interpreter is not ours.
    """
    if not named_in:
        return []
    environment = {**os.environ, **home_of(account)}
    question = [str(file) for file in named_in]
    try:
        answer = ask(
            installation.python, _SCRIPT, question, _Answer, deadline=DEADLINE, environment=environment, account=account
        )
    except NoAnswerError:
        return []
    paths = [Path(each) for each in answer.folders if isinstance(each, str)]
    return list(dict.fromkeys(path for path in paths if path.is_absolute()))


def _given(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the option's values among ComfyUI's arguments: it takes several, may be said again, and abbreviated."""
    meant = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("--"):
            meant = len(name) > len("--") and f"--{OPTION}".startswith(name)
            if meant and equals:
                yield value
        elif meant:
            yield argument
