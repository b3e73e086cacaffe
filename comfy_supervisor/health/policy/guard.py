"""The promises that hold whatever the table says: checked before anything is done, also in production."""

from __future__ import annotations

from .case import Case
from .evidence import ENDS, RECYCLED, Deed, Hand, Reply, Verdict

_ACTS = ENDS | {Deed.INTERRUPT}


def breach(case: Case, verdict: Verdict) -> str:
    """Return which promise the verdict would break, in words; empty: none."""
    if verdict.deed not in _ACTS:
        return ""
    return next((promise for promise, broken in _promises(case, verdict) if broken), "")


def _promises(case: Case, verdict: Verdict) -> tuple[tuple[str, bool], ...]:
    seen, state, rules = case.seen, case.state, case.rules
    ends = verdict.deed in ENDS
    free = verdict.cause == RECYCLED or verdict.hold not in ("", "backoff")
    limits = [case.stall_after, *([rules.stall_hard_limit] if rules.stall_hard_limit else [])]
    return (
        ("a restart is on its way already", seen.hand is not Hand.IDLE or (state.ended and case.awaits_effect)),
        ("it is starting, within its grace", ends and case.starting and case.age < rules.start_grace),
        ("that life is over", seen.life is None or not seen.life.is_same(verdict.life)),
        ("the launcher has not become ComfyUI yet", seen.waits),
        ("the budget is spent", ends and not free and case.deaths >= rules.budget),
        ("supervisord stopped it, or does not answer", seen.supervised not in ("RUNNING", "STARTING")),
        ("its job moves", verdict.deed is Deed.INTERRUPT and (not case.works_on or case.still < min(limits))),
        ("its job moves", ends and verdict.cause == "stalled" and case.works_on and case.still < min(limits)),
        ("we could not look", seen.reply is Reply.UNASKED and seen.vitals is None),
    )
