"""The upper half of the decision table: who has a say before ComfyUI's own behaviour is looked at."""

from __future__ import annotations

from .case import Case
from .evidence import Deed, Hand, Reply, Word
from .row import Row

LONGEST_DEED = 120.0
"""A deed of ours should not take longer: stop, black box and start have their own deadlines."""
LONG_START = 3
"""So many graces make a start worth a word, though it is not cut short."""
_AT_IT = "; our hand has been at it for "
_HELD = {
    "backoff": Word.BACKOFF,
    "gave_up": Word.GAVE_UP,
    "configuration": Word.GAVE_UP,
    "gpu_fault": Word.GPU_FAULT,
    "maintenance": Word.STOPPED,
}
_ENDING = frozenset({Word.STALLED, Word.RESTARTING, Word.GAVE_UP, Word.GPU_FAULT})
_FOUND_BY_LAUNCHER = frozenset({"configuration", "gpu_fault"})


def _unchanged(case: Case) -> Word:
    """Return the word that stood when our hand set to work."""
    return case.state.word if case.state.word in _ENDING else Word.RESTARTING


def _cause(case: Case) -> str:
    return case.state.cause if case.state.cause not in ("", "healthy") else "unknown"


def _under_way(case: Case) -> str:
    """Return why something is being done, and how long that has taken."""
    why = case.state.reason.partition(_AT_IT)[0] or "an earlier listener began something"
    return f"{why}{_AT_IT}{case.handled:.0f} s" if case.handled else why


def _standing(case: Case) -> Word:
    """Return how it would be without what hides it: a debugger, a signal."""
    if case.starting:
        return Word.STARTING
    return Word.BUSY if case.state.queue else Word.IDLE


def _refusal(case: Case) -> str:
    """Return what keeps supervisord from starting it."""
    return f": {case.seen.spawn_error}" if case.seen.spawn_error else ""


def _ended(case: Case) -> str:
    return f"it ended {case.gone:.0f} s ago; supervisord is to start it{_refusal(case)}"


def _launching(case: Case) -> float:
    """Return how long the launcher has been at it, with no hold up."""
    return case.word_for if case.state.word is Word.STARTING else 0.0


OURSELVES = (
    Row(
        "supervisord-silent",
        when=lambda c: not c.seen.supervised,
        word=Word.BLIND,
        cause="unknown",
        reason=lambda c: f"nothing can be done: {c.seen.reply_text or 'supervisord does not answer'}",
        deed=Deed.ALERT,
        clock=lambda c: c.word_for if c.state.word is Word.BLIND else 0.0,
        after=lambda c: c.rules.quiet,
        early=Word.BLIND,
    ),
    Row(
        "unkillable",
        when=lambda c: c.seen.hand is Hand.STUCK,
        word=Word.RESTARTING,
        cause=_cause,
        reason="the process survives SIGKILL: it is stuck in the kernel, which often takes a reboot",
        deed=Deed.ALERT,
    ),
    Row(
        "hand-at-work",
        when=lambda c: c.seen.hand is Hand.BUSY,
        word=_unchanged,
        cause=_cause,
        reason=_under_way,
        deed=Deed.ALERT,
        clock=lambda c: c.handled,
        after=LONGEST_DEED,
        early=_unchanged,
    ),
)

NOBODY = (
    Row(
        "stopped",
        when=lambda c: c.seen.supervised in ("STOPPED", "STOPPING"),
        word=Word.STOPPED,
        reason="somebody stopped it, and it stays so",
    ),
    Row(
        "fatal",
        when=lambda c: c.seen.supervised in ("FATAL", "UNKNOWN"),
        word=Word.STOPPED,
        cause="unknown",
        reason=lambda c: f"supervisord gave up starting it ({c.seen.supervised}{_refusal(c)})",
        deed=Deed.ALERT,
    ),
    Row(
        "between-two-lives",
        when=lambda c: c.seen.life is None,
        word=lambda c: c.state.word if c.state.ended else Word.BACKOFF,
        cause=_cause,
        reason=lambda c: _under_way(c) if c.state.ended else _ended(c),
        deed=Deed.ALERT,
        clock=lambda c: c.gone,
        after=lambda c: c.rules.start_quiet,
        early=lambda c: c.state.word if c.state.ended else Word.BACKOFF,
    ),
)

WAITING = (
    Row(
        "deed-under-way",
        when=lambda c: c.state.ended and c.awaits_effect,
        word=_unchanged,
        cause=_cause,
        reason=_under_way,
    ),
)

LAUNCHER = (
    Row(
        "gpu-fault",
        when=lambda c: bool(c.gpu_fault) and not (c.spared and (c.seen.hold == "gpu_fault" or c.said("gpu-fault"))),
        word=Word.GPU_FAULT,
        cause=lambda c: c.gpu_cause,
        reason=lambda c: c.gpu_fault,
        deed=lambda c: Deed.HOLD if c.spared else Deed.RESTART,
        hold="gpu_fault",
    ),
    Row(
        "misconfigured",
        when=lambda c: (
            bool(c.fault_of_configuration)
            and c.starting
            and c.seen.hold not in ("configuration", "gpu_fault")
            and not c.said("misconfigured")
        ),
        word=lambda c: Word.GAVE_UP if c.seen.waits else Word.STARTING,
        cause=lambda c: c.fault_of_configuration,
        reason=lambda c: c.seen.ending.explanation if c.seen.ending else "",
        deed=Deed.HOLD,
        hold="configuration",
    ),
    Row(
        "crashes-for-ever",
        when=lambda c: (
            c.seen.waits
            and c.seen.hold == "backoff"
            and (c.state.given_up or c.deaths > c.rules.budget)
            and not c.said("crashes-for-ever")
        ),
        word=Word.GAVE_UP,
        cause=_cause,
        reason=lambda c: f"{c.spent}; one try every {c.rules.retry_after:.0f} s, or comfy-supervisor reset",
        deed=Deed.HOLD,
        hold="gave_up",
        hold_seconds=lambda c: c.rules.retry_after,
    ),
    Row(
        "held-by-the-launcher",
        when=lambda c: c.seen.waits and c.seen.hold in _FOUND_BY_LAUNCHER and not c.seen.hold_ours,
        word=lambda c: _HELD[c.seen.hold],
        cause=lambda c: c.seen.hold_cause or "unknown",
        reason=lambda c: c.seen.hold_text or f"held ({c.seen.hold})",
        deed=Deed.ALERT,
    ),
    Row(
        "held",
        when=lambda c: c.seen.waits and c.seen.hold in _HELD,
        word=lambda c: _HELD[c.seen.hold],
        cause=_cause,
        reason=lambda c: c.seen.hold_text or f"held ({c.seen.hold})",
    ),
    Row(
        "launching",
        when=lambda c: c.seen.waits,
        word=Word.STARTING,
        cause=lambda c: "unknown" if _launching(c) >= c.rules.start_grace else "healthy",
        reason=lambda c: f"the launcher has been clearing the way for {_launching(c):.0f} s",
        deed=Deed.ALERT,
        clock=_launching,
        after=lambda c: c.rules.start_grace,
        early=Word.STARTING,
    ),
)

MACHINE = (
    Row(
        "debugged",
        when=lambda c: c.debugged,
        word=_standing,
        cause="process_stopped",
        reason="a debugger holds the process; it is left alone",
        deed=Deed.ALERT,
    ),
    Row(
        "somebody-else-answers",
        when=lambda c: c.foreign,
        word=Word.SUSPECT,
        cause="port_in_use",
        reason="another program answers on its port, so nothing can be told of it",
        deed=Deed.ALERT,
        clock=lambda c: c.word_for if c.state.cause == "port_in_use" else 0.0,
        after=lambda c: c.rules.quiet,
    ),
)

START = (
    Row(
        "stopped-in-its-start",
        when=lambda c: c.starting and c.state.frozen is not None and c.fails,
        word=lambda c: Word.STARTING if c.age < c.rules.start_grace else Word.RESTARTING,
        cause="process_stopped",
        reason=lambda c: f"a signal stopped the process {c.frozen:.0f} s ago, {c.age:.0f} s into its start",
        deed=lambda c: Deed.ALERT if c.age < c.rules.start_grace else Deed.KILL,
        clock=lambda c: c.frozen,
        after=lambda c: c.rules.frozen,
        early=Word.STARTING,
    ),
    Row(
        "start-hangs",
        when=lambda c: c.starting and c.fails and c.age >= c.rules.start_grace and c.all_quiet >= c.rules.quiet,
        word=Word.RESTARTING,
        cause="stalled",
        reason=lambda c: f"it has been starting for {c.age:.0f} s, and {c.figures}; its log is quiet, too",
        deed=Deed.RESTART,
        clock=lambda c: min(c.all_quiet, c.age - c.rules.start_grace),
        after=lambda c: c.rules.start_quiet,
        early=Word.STARTING,
        shared=True,
    ),
    Row(
        "starting",
        when=lambda c: c.starting and c.seen.reply is not Reply.STRANGE,
        word=Word.STARTING,
        reason=lambda c: f"starting for {c.age:.0f} s; {c.seen.reply_text or 'not asked yet'}",
        deed=Deed.ALERT,
        clock=lambda c: c.age,
        after=lambda c: LONG_START * c.rules.start_grace,
        early=Word.STARTING,
    ),
)
