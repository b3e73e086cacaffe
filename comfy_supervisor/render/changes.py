"""What taking a new configuration over would restart, and why: pure, from the sections of both."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

Sections = Mapping[str, Mapping[str, str]]

RUNS = ("program:", "eventlistener:")
LONGEST = 160


@dataclass(frozen=True)
class Change:
    """One section that is not what it was."""

    section: str
    reasons: tuple[str, ...]

    @property
    def restarts(self) -> bool:
        """Whether it is a program's: the rest of the file takes effect only when supervisord itself starts."""
        return self.section.startswith(RUNS)


def between(old: Sections, new: Sections) -> tuple[Change, ...]:
    """Return the sections that differ, each with what differs in it."""
    names = list(dict.fromkeys([*old, *new]))
    found = (Change(name, _reasons(old.get(name), new.get(name))) for name in names if old.get(name) != new.get(name))
    return tuple(found)


def _reasons(old: Mapping[str, str] | None, new: Mapping[str, str] | None) -> tuple[str, ...]:
    if old is None:
        return ("is new",)
    if new is None:
        return ("is gone",)
    options = list(dict.fromkeys([*old, *new]))
    return tuple(
        _reason(option, old.get(option), new.get(option)) for option in options if old.get(option) != new.get(option)
    )


def _reason(option: str, old: str | None, new: str | None) -> str:
    if old is None or new is None:
        return f"{option} {'is gone' if new is None else f'= {_short(new)}'}"
    if option in ("command", "environment"):
        before, after = _pieces(option, old), _pieces(option, new)
        gone = [f"without {piece}" for piece in before if piece not in after]
        come = [f"with {piece}" for piece in after if piece not in before]
        return _short(f"{option}: {', '.join(gone + come)}")
    return f"{option}: {_short(old)} → {_short(new)}"


def _pieces(option: str, text: str) -> list[str]:
    """Return a command's options with their values, or an environment's variables."""
    if option == "environment":
        return [f'{piece}"' for piece in text.removesuffix('"').split('",')]
    pieces: list[str] = []
    for word in shlex.split(text):
        if word.startswith("--") or not pieces or not pieces[-1].startswith("--"):
            pieces.append(word)
        else:
            pieces[-1] += f" {word}"
    return pieces


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
