"""What was seen, as rows of a table: the median and the worst of all rounds. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from .fault import Fault, Seen, false_restarts, judge

HEADER = ("", "fault", "expected", "came", "detected", "works again", "jobs lost", "done twice", "false restarts")
NOTHING = "-"


def row(fault: Fault, rounds: Sequence[Seen]) -> tuple[str, ...]:
    """Return a fault's row."""
    tried = [seen for seen in rounds if not seen.not_tried]
    if not tried:
        reason = rounds[0].not_tried if rounds else "not in a quick run"
        return (str(fault.number), fault.name, fault.expected.says, f"not tried: {reason}", *[NOTHING] * 5)
    right = sum(not judge(fault.expected, seen) for seen in tried)
    came = "as expected" if right == len(tried) else f"**as expected {right} of {len(tried)} times**"
    return (
        str(fault.number),
        fault.name,
        fault.expected.says,
        came,
        times(seen.detected for seen in tried),
        times(seen.answered for seen in tried),
        f"{sum(seen.lost for seen in tried)} of {sum(seen.jobs for seen in tried)}",
        str(sum(seen.twice for seen in tried)),
        str(sum(false_restarts(fault.expected, seen) for seen in tried)),
    )


def missed(fault: Fault, rounds: Iterable[Seen]) -> list[str]:
    """Return how what came differs from what was expected, each difference once."""
    found = [wrong for seen in rounds if not seen.not_tried for wrong in judge(fault.expected, seen)]
    return [f"fault {fault.number}, {fault.name}: {wrong}" for wrong in dict.fromkeys(found)]


def times(seconds: Iterable[float | None]) -> str:
    """Return the median and the worst of those that are known."""
    known = [each for each in seconds if each is not None]
    if not known:
        return NOTHING
    worst = f" ({max(known):.1f})" if len(known) > 1 else ""
    return f"{statistics.median(known):.1f} s{worst}"
