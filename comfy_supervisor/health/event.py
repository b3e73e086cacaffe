"""Which looks at an instance show something that deserves an incident: pure."""

from __future__ import annotations

from ..incidents.incident import Kind
from .policy.evidence import ENDS, RECYCLED, Deed, Life, Observation, State, Verdict, Word
from .policy.rules import Rules

_BY_HOLD = {"gave_up": Kind.GAVE_UP, "gpu_fault": Kind.GPU_FAULT, "configuration": Kind.CONFIGURATION}


def of_hold(hold: str) -> Kind:
    """Return what kind of incident the end of a life is that came with this hold, or with none."""
    return _BY_HOLD.get(hold, Kind.RESTART)


def of(
    before: State, after: State, seen: Observation, verdict: Verdict, rules: Rules
) -> tuple[Kind, Life | None] | None:
    """Return what kind of incident a look shows, and about whose life; None: none.

    A planned restart is none, nor is an end that somebody asked for, or a good one after a life that lasted.
    """
    crashed = _crashed(before, after, seen, rules)
    kind = _kind(verdict, seen)
    if kind:
        return kind, before.life if crashed else verdict.life or seen.life
    return (Kind.CRASH, before.life) if crashed else None


def _kind(verdict: Verdict, seen: Observation) -> Kind | None:
    if verdict.deed in ENDS:
        return None if verdict.cause == RECYCLED else of_hold(verdict.hold)
    if verdict.deed is Deed.HOLD:
        return _BY_HOLD.get(verdict.hold)
    if verdict.deed is Deed.ALERT and verdict.word in (Word.GAVE_UP, Word.GPU_FAULT):
        return Kind.GPU_FAULT if verdict.word is Word.GPU_FAULT else _BY_HOLD.get(seen.hold, Kind.GAVE_UP)
    return None


def _crashed(before: State, after: State, seen: Observation, rules: Rules) -> bool:
    """Tell whether ComfyUI's process has ended since the last look, and nobody wanted that."""
    if seen.life is None or before.life is None or seen.life.process == before.life.process:
        return False
    if before.ended or seen.ending is None or seen.ending.asked_for:
        return False
    if before.waits and after.past <= before.past:
        return False  # it was the launcher's process
    return not (seen.ending.clean and after.lasted >= rules.first_delay)
