"""When to restart ComfyUI, and when not to: a pure function, and the table that it looks up.

``judge`` works one look into what is remembered (see memory), and goes down the table until a row applies. A row
whose evidence has not lasted long enough yet says how the instance is meanwhile, and does nothing.
"""

from __future__ import annotations

from dataclasses import replace

from . import guard
from .case import Case
from .clues import note
from .evidence import ENDS, Deed, Hand, Observation, State, Verdict, Word
from .memory import remember
from .row import Row, of
from .rules import Rules
from .table import TABLE

_ILL = frozenset({Word.SUSPECT, Word.STALLED, Word.RESTARTING, Word.BLIND})
_ONCE = frozenset({Deed.ALERT, Deed.HOLD})
"""What a row does once in a life."""
_WELL = frozenset({Word.IDLE, Word.BUSY})


def judge(before: State, seen: Observation, now: float, rules: Rules) -> tuple[State, Verdict]:
    """Return what is to be remembered, and what is to be done now. ``now``: CLOCK_MONOTONIC, seconds."""
    state = remember(before, seen, now, rules)
    case = Case(state, seen, now, rules)
    row = applies(case)
    verdict = _withheld(case, row, _verdict(case, row))
    verdict = _kept(case, row, verdict)
    if verdict.deed in _ONCE and case.said(row.name):
        verdict = replace(verdict, deed=Deed.NOTHING, hold="", hold_seconds=None)
    _settle(case, row, verdict)
    return state, verdict


def _kept(case: Case, row: Row, verdict: Verdict) -> Verdict:
    """Return the verdict, or, where it would break a promise, one that only says so."""
    wrong, missing = guard.breach(case, verdict), guard.overlooked(case, verdict)
    if not wrong and not missing:
        return verdict
    word, cause = (of(row.early, case), verdict.cause) if wrong else (Word.SUSPECT, "stalled")
    reason = f"not done, {wrong or missing}: {verdict.reason}"
    return Verdict(word, Deed.ALERT, cause, reason, verdict.life)


def applies(case: Case) -> Row:
    """Return the row that decides: the last one applies always."""
    return next(row for row in TABLE if row.when(case))


def _verdict(case: Case, row: Row) -> Verdict:
    """Return what the row says of the case, its time being up or not."""
    cause, reason, life = of(row.cause, case), of(row.reason, case), case.state.life
    if of(row.clock, case) < of(row.after, case):
        return Verdict(of(row.early, case), Deed.NOTHING, cause, reason, life)
    verdict = Verdict(of(row.word, case), of(row.deed, case), cause, reason, life)
    if verdict.deed is Deed.INTERRUPT:
        return replace(verdict, prompt_id=case.state.running)
    if row.hold and verdict.deed is not Deed.NOTHING:
        return replace(verdict, hold=of(row.hold, case), hold_seconds=of(row.hold_seconds, case))
    return _afforded(case, verdict) if verdict.deed in ENDS and not row.planned else verdict


def _afforded(case: Case, verdict: Verdict) -> Verdict:
    """Have the next start wait as its predecessors ask for, or give up where the budget is spent."""
    rules, state = case.rules, case.state
    if case.gpu_fault:
        return replace(verdict, word=Word.GPU_FAULT, hold="gpu_fault", reason=f"{verdict.reason}; {case.gpu_fault}")
    if case.before_next_try:
        reason = f"{verdict.reason}; it runs although it was given up: its hold is lost, and nothing more is done to it"
        return replace(verdict, word=Word.GAVE_UP, deed=Deed.ALERT, reason=reason)
    if state.given_up or case.deaths >= rules.budget:
        reason = f"{verdict.reason}; {case.spent}: given up, but for one try every {rules.retry_after:.0f} s"
        return replace(verdict, word=Word.GAVE_UP, reason=reason, hold="gave_up", hold_seconds=rules.retry_after)
    delay = rules.delay(state.row + (not case.counted))
    return replace(verdict, hold="backoff", hold_seconds=delay) if delay else verdict


def _withheld(case: Case, row: Row, verdict: Verdict) -> Verdict:
    """Return the verdict without a deed that maintenance, or the company of others as ill, forbids."""
    if verdict.deed in (Deed.NOTHING, Deed.ALERT):
        return verdict
    word = verdict.word if verdict.deed in (Deed.HOLD, Deed.LIFT) else of(row.early, case)
    undone = replace(verdict, word=word, deed=Deed.NOTHING, prompt_id="", hold="", hold_seconds=None)
    if case.seen.maintenance:
        return replace(undone, reason=f"{verdict.reason} (maintenance: nothing is done)")
    if row.shared and case.seen.company:
        reason = f"{verdict.reason}; others fell ill alike at the same time, so nothing is done to any"
        return replace(undone, word=Word.BLIND, deed=Deed.ALERT, reason=reason)
    return verdict


def _settle(case: Case, row: Row, verdict: Verdict) -> None:
    """Work the verdict into the state."""
    state, now = case.state, case.now
    if verdict.deed in _ONCE:
        note(state, alerted=(*state.alerted, row.name))
    if verdict.deed not in (Deed.NOTHING, Deed.ALERT):
        note(state, acted=now)
    if verdict.deed is Deed.INTERRUPT:
        note(state, interrupted=now)
    if verdict.hold == "gave_up" and verdict.hold_seconds is not None:
        note(state, given_up=True, next_try=now + verdict.hold_seconds)
    if verdict.deed in ENDS:
        _count(case, row, verdict)
    elif state.ended and verdict.word in _WELL and case.seen.hand is Hand.IDLE:
        note(state, ended=False, counted=None)  # it went on, and is well
    _name(case, row, verdict)


def _count(case: Case, row: Row, verdict: Verdict) -> None:
    """Remember that this life was ended, and count it once; what is held back after it is not counted."""
    state = case.state
    if not (row.planned or case.counted or verdict.hold not in ("", "backoff")):
        note(state, restarts=(*state.restarts, case.now), row=state.row + 1, counted=case.now)
    note(state, ended=True)


def _name(case: Case, row: Row, verdict: Verdict) -> None:
    """Remember the word, since when it holds, and since when its cause is suspected."""
    state, now = case.state, case.now
    if state.word is not verdict.word:
        note(state, since=now)
    ill = None
    if verdict.word in _ILL or row.shared:
        ill = now if state.ill is None or state.cause != verdict.cause else state.ill
    proven = ill is not None and not row.shared
    note(state, word=verdict.word, cause=verdict.cause, reason=verdict.reason, ill=ill, proven=proven)
