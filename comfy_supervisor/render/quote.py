"""How a value is written so that supervisord reads the same one; what can't be expressed is refused.

The rules are supervisord's: ``options.py`` (expansion, comments) and ``datatypes.py`` (environment), 4.2 to 4.4.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from ..errors import UserError

COMMENT = re.compile(r"\s[;#]")
"""Begins a comment anywhere in a line, even inside quotes."""
HERE = "%(here)s"
"""Is replaced in included files before the doubling of % is undone, so no escape protects it."""


def value(text: str, key: str, expansions: int = 1) -> str:
    """Return a plain value as it is to be written.

    ``expansions``: how often supervisord expands it; twice for the programs' log files.
    Raises UserError naming ``key`` if supervisord's format has no way to say it.
    """
    if text != text.strip():
        raise _refusal(key, text, "begins or ends with white space, which supervisord cuts off")
    return _expressed(text, key, expansions)


def command(argv: Sequence[str], key: str) -> str:
    """Return an argument list as supervisord's ``command``; raises UserError as ``value`` does."""
    return " ".join(_argument(argument, key) for argument in argv)


def environment(variables: Mapping[str, str], key: Callable[[str], str]) -> str:
    """Return variables as supervisord's ``environment``; raises UserError as ``value`` does, but shows no value.

    ``key``: from a variable's name, the setting to blame.
    """
    return ",".join(f'{name}="{_variable(text, key(name))}"' for name, text in variables.items())


def comment(text: str) -> str:
    """Return text that stays within one comment line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _argument(text: str, key: str) -> str:
    """Quote for the shell's grammar; ' ;' would begin a comment, between two quoted pieces it does not."""
    if not text.isprintable() or HERE in text:
        _expressed(text, key)
    return _expressed(COMMENT.sub(lambda found: f"{found[0][0]}''{found[0][1]}", shlex.quote(text)), key)


def _variable(text: str, key: str) -> str:
    why = _why_no_variable(text) or _why_not(text)
    if why:
        raise UserError(f"{key}: its value, which isn't shown, {why}; choose another")
    return _doubled(text)


def _why_no_variable(text: str) -> str:
    """Return why no environment can hold a value; empty: one can, as far as its quotes go."""
    if '"' in text:
        return 'has a ", which supervisord has no way to write in an environment'
    if text[:1] == "'" or text[-1:] == "'":
        return "begins or ends with a ', which supervisord before 4.4 cuts off"
    if "\\\\" in text or text.endswith("\\"):
        return r"has a \ before another or at its end, which supervisord's versions read differently"
    return ""


def _expressed(text: str, key: str, expansions: int = 1) -> str:
    """Return text that comes through supervisord's reader unchanged; the gate for every value."""
    why = _why_not(text)
    if why:
        raise _refusal(key, text, why)
    return _doubled(text, expansions)


def _why_not(text: str) -> str:
    """Return why supervisord's format has no way to say a text; empty: it has."""
    if not text.isprintable():
        return "has a control character, a line break or white space other than a blank"
    if COMMENT.search(text):
        return "has white space before ; or #, which begins a comment"
    return f"has {HERE}, which supervisord replaces" if HERE in text else ""


def _doubled(text: str, expansions: int = 1) -> str:
    return text.replace("%", "%" * 2**expansions)


def _refusal(key: str, text: str, why: str) -> UserError:
    return UserError(f"{key} = {text!r}: {why}; choose another value")
