"""The promises that hold whatever the table says: checked before anything is done, also in production."""

from __future__ import annotations

from .case import Case
from .evidence import ENDS, RECYCLED, Deed, Hand, Patience, Reply, Verdict
from .memory import longest_gap

_ACTS = ENDS | {Deed.INTERRUPT}
_SUPERVISED = frozenset({"RUNNING", "STARTING"})
_BY_ANSWERS = frozenset({"stalled", "api_unresponsive"})
"""Causes that only somebody can know who has asked."""


def breach(case: Case, verdict: Verdict) -> str:
    """Return which promise the verdict would break, in words; empty: none."""
    if verdict.deed not in _ACTS:
        return ""
    return next((promise for promise, broken in _promises(case, verdict) if broken), "")


def overlooked(case: Case, verdict: Verdict) -> str:
    """Return which stall the verdict neither acts upon nor says though its time is long up, in words; empty: none.

    Longer than the longest pause between two looks that still tell something of each other; and where it was taken
    to be well until now, as long as that: how patient its nodes are to be met is asked once it is suspect.
    """
    if verdict.deed is not Deed.NOTHING or not case.works_on or not case.seen.queue_seen:
        return ""
    late = longest_gap(case.rules)
    well = case.state.healthy is not None and case.now - case.state.healthy >= late
    overdue = case.patience is not Patience.ENDLESS and case.stalled >= case.stall_after + late
    if not (overdue and (well or case.watched_closely)) or _is_excused(case):
        return ""
    return f"what is due after a stall of {case.stalled:.0f} s"


def _is_excused(case: Case) -> bool:
    """Tell whether something was done since the work stood still, is being done, or mustn't be."""
    acted = case.state.acted is not None and case.now - case.state.acted <= case.stalled
    return acted or case.foreign or case.seen.maintenance or case.seen.supervised not in _SUPERVISED


def _promises(case: Case, verdict: Verdict) -> tuple[tuple[str, bool], ...]:
    seen, state, rules = case.seen, case.state, case.rules
    ends = verdict.deed in ENDS
    free = verdict.cause == RECYCLED or verdict.hold not in ("", "backoff")
    limits = [case.stall_after, *([rules.stall_hard_limit] if rules.stall_hard_limit else [])]
    moves = not case.works_on or not seen.queue_seen or case.still < min(limits)
    stalls = ends and verdict.cause == "stalled" and case.answers and state.queue > 0
    asks = verdict.deed is Deed.INTERRUPT or verdict.cause in _BY_ANSWERS
    return (
        ("a restart is on its way already", seen.hand is not Hand.IDLE or (state.ended and case.awaits_effect)),
        ("it is starting, within its grace", case.starting and case.age < rules.start_grace),
        ("that life is over", seen.life is None or not seen.life.is_same(verdict.life)),
        ("the launcher has not become ComfyUI yet", seen.waits),
        ("the budget is spent", ends and not free and case.deaths >= rules.budget),
        ("supervisord stopped it, or does not answer", seen.supervised not in _SUPERVISED),
        ("a debugger holds it", case.debugged),
        ("we could not look", not case.looked_at or (asks and seen.reply is Reply.UNASKED)),
        ("its job moves, as far as is known", (verdict.deed is Deed.INTERRUPT or stalls) and moves),
    )
