"""All instances together: what befalls most of them at once is no fault of any of them."""

from __future__ import annotations

from collections.abc import Mapping

from .evidence import State, Word
from .rules import Rules


def company(name: str, states: Mapping[str, State], rules: Rules) -> bool:
    """Tell whether an instance is ill together with others.

    Two or more, and at least half of all that nobody stopped, with the same symptom, that showed within
    ``rules.blind_within`` seconds of its own; and none of them for a reason that its own process shows. One that
    starts, waits or is held shows no symptom, and speaks against it as much as one that works.
    """
    mine = states.get(name)
    if mine is None or mine.ill is None:
        return False
    alike = [
        each
        for each in states.values()
        if each.ill is not None and each.cause == mine.cause and abs(each.ill - mine.ill) <= rules.blind_within
    ]
    if len(alike) < 2 or any(each.proven for each in alike):  # noqa: PLR2004  # one alone is no company
        return False
    return 2 * len(alike) >= sum(each.word is not Word.STOPPED for each in states.values())
