"""From what was seen in a log to why it ends as it does. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import reading
from .causes import BY_CAUSE, ENTRIES
from .entry import ENDS_NOTHING, TELLS_NOTHING, Entry, Explanation
from .life import Finding, Life
from .reader import Reader

_ROOT = 0.25
"""What a finding has to weigh to be another's cause."""
_FAULT = 0.4
"""What one has to weigh to be more than a warning."""
_SURE = 0.97
_FATAL = 1.0
"""What is added to the weight of what ComfyUI ended of."""
_GUESSED = 0.2
_EARLIER = 0.7
"""How much is left of a confidence where ComfyUI has begun anew since."""
_BY_SIGNAL = 0.6
"""What a signal alone weighs: somebody may have sent it."""
_CLEAN_SIGNALS = (2, 15)
"""SIGINT and SIGTERM: somebody asked for it."""


def entry(cause: str) -> Entry:
    """Return a cause's entry; that of ``unknown`` for an id that there isn't."""
    return BY_CAUSE.get(cause, BY_CAUSE["unknown"])


def ends(cause: str) -> bool:
    """Tell whether a cause may be why a ComfyUI ended: not if it only goes on without something, or is not known."""
    return cause not in TELLS_NOTHING and entry(cause).kind not in ENDS_NOTHING


def explain(lines: Iterable[bytes], *, exit_code: int | None = None, signal: int | None = None) -> Explanation:
    """Return why a log of ComfyUI's ends as it does.

    ``lines`` may be anything, each with its end or without; ``exit_code`` and ``signal`` are how the last life ended,
    as far as that is known. Of several lives in one log it is the last one that ended badly.
    """
    return explain_blocks(reading.blocks(lines), exit_code=exit_code, signal=signal)


def explain_chunks(chunks: Iterable[bytes], *, exit_code: int | None = None, signal: int | None = None) -> Explanation:
    """Return the same for a stream, of which chunks of any size are given: the quickest way, and flat in memory."""
    return explain_blocks(reading.whole_lines(chunks), exit_code=exit_code, signal=signal)


def explain_blocks(blocks: Iterable[bytes], *, exit_code: int | None, signal: int | None) -> Explanation:
    """Return the same for blocks of whole lines."""
    reader = Reader()
    reader.read(blocks)
    earlier, last = reader.earlier, reader.life
    last.finish()
    code, number = _ending(exit_code, signal)
    _take_ending(last, number)
    found = _ranked(last)
    if found and found[0].strength > _FAULT:
        return _explained(found, 1.0)
    if code or number not in (None, *_CLEAN_SIGNALS):
        return _unknown(last, f"it ended with {f'signal {number}' if number else f'exit code {code}'}")
    if earlier is not None:
        return _explained(_ranked(earlier), _EARLIER)
    return _explained(found, 1.0) if found else _healthy(last)


def _ending(exit_code: int | None, signal: int | None) -> tuple[int, int | None]:
    """Return the exit code and the signal that are meant: a shell's 137 and subprocess's -9 are both signal 9."""
    if signal is None and exit_code is not None and exit_code < 0:
        return 0, -exit_code
    if signal is None and exit_code is not None and exit_code > 128:  # noqa: PLR2004  # as shells count
        return 0, exit_code - 128
    return (exit_code or 0), signal


def _take_ending(life: Life, signal: int | None) -> None:
    """Take in how the process ended as one more sign of the causes that end so."""
    for one in ENTRIES:
        if signal in one.signals:
            finding = life.findings.setdefault(one.cause, Finding(one.cause))
            finding.strength = max(finding.strength, _FATAL + _BY_SIGNAL)


def _ranked(life: Life) -> list[Finding]:
    """Return what was found, the cause first: the strongest, the latest of those, or rather what that came of."""
    found = [*life.findings.values(), *filter(None, [life.strange])]
    found.sort(key=lambda one: (one.strength, one.cause != "unknown", one.last), reverse=True)
    if not found:
        return []
    root = _root(found[0], found)
    return [root, *(one for one in found if one is not root)]


def _root(finding: Finding, found: Sequence[Finding]) -> Finding:
    """Return the finding that this one came of, the farthest one; itself if there is none."""
    seen = {finding.cause}
    while True:
        causes = [one for one in found if finding.cause in entry(one.cause).leads_to and one.strength >= _ROOT]
        causes = [one for one in causes if one.cause not in seen]
        if not causes:
            return finding
        finding = causes[0]
        seen.add(finding.cause)


def _explained(found: Sequence[Finding], share: float) -> Explanation:
    first, others = found[0], found[1:]
    one = entry(first.cause)
    return Explanation(
        cause=one.cause,
        confidence=round(_confidence(first) * share, 2),
        evidence=tuple(first.lines),
        explanation=one.explained(first.details),
        fix=one.mended(first.details),
        also_possible=tuple(other.cause for other in others if other.cause != "unknown"),
        details=first.details,
        fatal=first.strength > _FATAL,
    )


def _confidence(finding: Finding) -> float:
    """Return how sure it is: what ComfyUI ended of is surer than what it lived on with."""
    if finding.cause == "unknown":
        return _GUESSED
    return min(_SURE, finding.strength - _FATAL if finding.strength > _FATAL else finding.strength)


def _unknown(life: Life, error: str) -> Explanation:
    """Return that it ended, but nobody knows of what."""
    one, others = entry("unknown"), _ranked(life)
    details = {"error": error}
    possible = tuple(other.cause for other in others if other.cause != "unknown")
    return Explanation("unknown", _GUESSED, (), one.explained(details), one.mended(details), possible, details)


def _healthy(life: Life) -> Explanation:
    """Return that nothing was found; the surer, the farther ComfyUI had come."""
    serving = life.serving or life.stopped
    if not (life.begun or serving or life.worked):
        return _unknown(life, "nothing in it is of ComfyUI's")
    one, confidence = entry("healthy"), 0.95 if life.worked else 0.9 if serving else 0.5
    return Explanation("healthy", confidence, (), one.explanation, one.fix)
