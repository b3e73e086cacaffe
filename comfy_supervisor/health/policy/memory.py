"""From one look to the next: what the evidence means for the clocks that the policy reads. Pure.

As in clues, one copy of the state is written into.
"""

from __future__ import annotations

from .clues import note, tells, work_in
from .evidence import Hand, Life, Observation, State
from .rules import Rules

LONGEST_GAP = 30.0
"""A longer time without a look says more of us than of the instance, and counts for nothing."""
_LIFTED = 2.0
"""A held instance that starts so many seconds before its time was let go by an operator."""
_APART = 0.001
"""Deaths between two looks are so many seconds apart: their real times aren't known, and each is counted."""
_MOST_DEATHS = 100
"""More of them between two looks are no more believed: the record lies where ComfyUI's account may write."""
_EVIDENCE = (
    "answered",
    "failing",
    "active",
    "log_moved",
    "frozen",
    "progress",
    "paused",
    "idle",
    "interrupted",
    "shaky",
)
"""The clocks that stand still while nothing can be seen …"""
_REST = ("ill", "healthy", "acted", "handled", "gone")
"""… and those that do so only while nobody looks."""


def longest_gap(rules: Rules) -> float:
    """Return how many seconds may lie between two looks that still tell something of each other."""
    return max(LONGEST_GAP, 3 * rules.probe_every, 3 * rules.suspect_every, 6 * rules.deadline)


def remember(before: State, seen: Observation, now: float, rules: Rules) -> State:
    """Return the state with everything that was seen worked in, its word still the old one."""
    state = _copy(before)
    _pass_time(state, seen, now, rules)
    _hand(state, seen, now)
    if seen.reset:
        _pardon(state)
    if seen.life is None:
        return _nobody(state, seen, now)
    if not seen.life.is_same(state.life) or (state.waits and not seen.waits):
        state = _next_life(state, seen, seen.life, now)
    elif seen.life.image and seen.life != state.life:
        note(state, life=seen.life)
    note(state, waits=seen.waits, gone=None, past=_past(state, seen))
    _explain(state, seen, rules)
    if not seen.waits:
        work_in(state, seen, now, rules)
    return state


def _copy(state: State) -> State:
    copy = object.__new__(State)
    vars(copy).update(vars(state))
    return copy


def _pass_time(state: State, seen: Observation, now: float, rules: Rules) -> None:
    """Move the clocks over a time that counts for nothing, and forget deaths that are long past."""
    gap = now - state.seen
    if state.seen and not 0.0 <= gap <= longest_gap(rules):
        _move(state, _EVIDENCE + _REST, gap)  # after a suspend, or while no listener ran
        note(state, samples=(), began=state.began + gap if state.answered is None else state.began)
    elif state.seen and seen.life is not None and not tells(seen):
        _move(state, _EVIDENCE, gap)
    if state.restarts:
        within = tuple(at for at in state.restarts if now - rules.window < at <= now)
        note(state, restarts=within[max(0, len(within) - rules.budget - 1) :])
    note(state, seen=now)


def _move(state: State, clocks: tuple[str, ...], by: float) -> None:
    values = vars(state)
    note(state, **{clock: values[clock] + by for clock in clocks if values[clock] is not None})


def _hand(state: State, seen: Observation, now: float) -> None:
    if seen.hand is Hand.IDLE:
        note(state, handled=None)
    else:
        note(state, acted=now, handled=now if state.handled is None else state.handled)


def _nobody(state: State, seen: Observation, now: float) -> State:
    """Keep the last life until it is known how it ended; forget everything where that was an operator's word."""
    if seen.supervised in ("STOPPED", "STOPPING") and seen.hand is Hand.IDLE:
        return State(word=state.word, since=state.since, cause=state.cause, reason=state.reason, seen=now, gone=now)
    note(state, gone=now if state.gone is None else state.gone)
    return state


def _next_life(state: State, seen: Observation, life: Life, now: float) -> State:
    """Return a state that knows nothing of the new life, and what has to be known of those before."""
    last = state.life
    goes_on = last is not None and last.process == life.process
    fresh = State(
        word=state.word,
        since=state.since,
        cause=state.cause,
        reason=state.reason,
        seen=now,
        life=life,
        began=now if goes_on else now - seen.age,
        active=now,
        log=seen.log,
        log_moved=now,
        progress=now,
        restarts=state.restarts,
        row=state.row,
        given_up=state.given_up,
        past=state.past,
        next_try=state.next_try,
        lasted=state.lasted if goes_on or last is None else 0.0 if state.waits else now - state.began,
        unexplained=state.unexplained if goes_on else None,
        acted=state.acted,
        handled=state.handled,
    )
    if goes_on:
        _let_go(fresh, state, now)
    elif last is not None:
        if not state.ended:
            note(fresh, unexplained=now)
        _died(fresh, now, _deaths(state, seen))
    return fresh


def _over(seen: Observation) -> int:
    """Return how many lives are over, as the launcher counts them; 0: can't be told."""
    return max(0, seen.lives - (not seen.waits))


def _past(state: State, seen: Observation) -> int:
    """Return how many lives were over by now; one that was seen to be so is so, unless the record began anew."""
    over = _over(seen)
    anew = over < state.past - 1 and seen.lives > 0  # by one alone: it has become ComfyUI since the record was read
    return over if anew else max(over, state.past)


def _deaths(state: State, seen: Observation) -> int:
    """Return how many lives have ended since the last look, but for one that we ended ourselves.

    Some may have been too short to be seen. Where the launcher can't tell, it is the one that was seen, if that was
    ComfyUI: the launcher's own end is no death.
    """
    told = min(_over(seen) - state.past, _MOST_DEATHS)
    return max(told, int(not state.waits)) - state.ended


def _let_go(fresh: State, state: State, now: float) -> None:
    """Start anew where the launcher went on before its time: somebody lifted the hold."""
    if state.waits and state.given_up and state.next_try is not None and now < state.next_try - _LIFTED:
        _pardon(fresh)


def _died(fresh: State, now: float, deaths: int) -> None:
    """Count lives that ended without our doing: the last of them only until it is known how, if that was no death."""
    times = (now - _APART * earlier for earlier in reversed(range(deaths)))
    note(fresh, restarts=(*fresh.restarts, *times), row=fresh.row + max(0, deaths))


def _explain(state: State, seen: Observation, rules: Rules) -> None:
    """Don't count a life that somebody wanted to end, or that ended well."""
    if state.unexplained is None or seen.ending is None:
        return
    if seen.ending.asked_for:
        _pardon(state)
    elif seen.ending.clean and state.lasted >= rules.first_delay:
        # ComfyUI-Manager's restart under a supervisor
        kept = tuple(at for at in state.restarts if at != state.unexplained)
        note(state, restarts=kept, row=state.row - (kept != state.restarts))
    note(state, unexplained=None)


def _pardon(state: State) -> None:
    note(state, restarts=(), row=0, given_up=False, next_try=None, counted=None)
