"""What taking a new configuration over would restart, and why: pure, from the sections of both."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Sections = Mapping[str, Mapping[str, str]]

RUNS = ("program:", "eventlistener:")
LONGEST = 160
NEW, GONE = "is new", "is gone"
WITH_GROUP = "with its group, which supervisord takes over as a whole"


@dataclass(frozen=True)
class Change:
    """One section that is not what it was."""

    section: str
    reasons: tuple[str, ...]

    @property
    def restarts(self) -> bool:
        """Whether it is a program's: the rest of the file takes effect only when supervisord itself starts."""
        return self.section.startswith(RUNS)

    @property
    def effect(self) -> str:
        """What taking it over does, in a word or two."""
        if self.section.startswith("group:"):
            return "is put together anew"
        if not self.restarts:
            return "takes effect at the next comfy-supervisor up"
        return {NEW: "starts", GONE: "ends"}.get(self.reasons[0], "restarts")


def between(old: Sections, new: Sections) -> tuple[Change, ...]:
    """Return the sections that differ, each with what differs in it."""
    names = list(dict.fromkeys([*old, *new]))
    found = [Change(name, _reasons(old.get(name), new.get(name))) for name in names if old.get(name) != new.get(name)]
    return (*found, *_siblings({change.section for change in found}, old, new))


def _siblings(changed: set[str], old: Sections, new: Sections) -> Iterator[Change]:
    """Yield the unchanged programs of groups in which something changed: supervisord takes a group over as a whole."""
    for group in old.keys() & new.keys():
        if group.startswith("group:"):
            before, after = (_members(sections[group]) for sections in (old, new))
            if group in changed or changed & {*before, *after}:
                yield from (Change(name, (WITH_GROUP,)) for name in before if name in after and name not in changed)


def _members(group: Mapping[str, str]) -> list[str]:
    return [f"program:{name.strip()}" for name in group.get("programs", "").split(",")]


def _reasons(old: Mapping[str, str] | None, new: Mapping[str, str] | None) -> tuple[str, ...]:
    if old is None:
        return (NEW,)
    if new is None:
        return (GONE,)
    options = list(dict.fromkeys([*old, *new]))
    return tuple(
        _reason(option, old.get(option), new.get(option)) for option in options if old.get(option) != new.get(option)
    )


def _reason(option: str, old: str | None, new: str | None) -> str:
    if option == "environment":
        return _short(f"{option}: {', '.join(_variables(old or '', new or ''))}")
    if old is None or new is None:
        return f"{option} {'is gone' if new is None else f'= {_short(new)}'}"
    if option == "command":
        before, after = _pieces(old), _pieces(new)
        gone = [f"without {piece}" for piece in before if piece not in after]
        come = [f"with {piece}" for piece in after if piece not in before]
        return _short(f"{option}: {', '.join(gone + come)}")
    return f"{option}: {_short(old)} → {_short(new)}"


def _variables(old: str, new: str) -> Iterator[str]:
    """Yield what differs between two environments, by name: the values may be secret."""
    before, after = (dict(map(_variable, text.removesuffix('"').split('",'))) for text in (old, new))
    for name in filter(None, dict.fromkeys([*before, *after])):
        if name not in after:
            yield f"without {name}"
        elif name not in before:
            yield f"with {name}"
        elif before[name] != after[name]:
            yield f"another {name}"


def _variable(piece: str) -> tuple[str, str]:
    name, _, value = piece.partition('="')
    return name, value


def _pieces(text: str) -> list[str]:
    """Return a command's options with their values."""
    try:
        words = shlex.split(text)
    except ValueError:  # somebody has changed the file by hand
        words = text.split()
    pieces: list[str] = []
    for word in words:
        if word.startswith("--") or not pieces or not pieces[-1].startswith("--"):
            pieces.append(word)
        else:
            pieces[-1] += f" {word}"
    return pieces


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
