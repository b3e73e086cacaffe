"""One instance at one moment, with the figures that the table's rows ask for."""

from __future__ import annotations

from dataclasses import dataclass

from .clues import foreign
from .evidence import FAILING, Observation, Patience, Reply, State, Word
from .rules import Rules

SOFT_XIDS = frozenset({13, 31, 43, 45, 63, 68, 94, 109})
"""Errors of the driver's that often are a program's own: they count only where the instance is ill as well."""
AGAIN = 10.0
"""A deed that had no effect is not thought of again for so long."""
_LIFT_AGAIN = 60.0


@dataclass(frozen=True)
class Case:
    """What is remembered, what is seen, and the time; durations in seconds."""

    state: State
    seen: Observation
    now: float
    rules: Rules

    @property
    def age(self) -> float:
        """How long this life has lasted."""
        return self.now - self.state.began

    @property
    def word_for(self) -> float:
        """How long it has been as it is."""
        return self.now - self.state.since

    @property
    def quiet(self) -> float:
        """How long the process has done nothing."""
        return self.now - self.state.active

    @property
    def all_quiet(self) -> float:
        """How long neither the process nor its log has moved."""
        return min(self.quiet, self.now - self.state.log_moved)

    @property
    def unanswered(self) -> float:
        """How long ago the last good answer is."""
        return self.now - (self.state.began if self.state.answered is None else self.state.answered)

    @property
    def failing(self) -> float:
        """How long no answer has been good."""
        return 0.0 if self.state.failing is None else self.now - self.state.failing

    @property
    def still(self) -> float:
        """How long the work has not moved."""
        return self.now - self.state.progress

    @property
    def stalled(self) -> float:
        """How long the running job has neither moved nor done anything."""
        return min(self.still, self.quiet)

    @property
    def frozen(self) -> float:
        """How long the process has been stopped by a signal."""
        return 0.0 if self.state.frozen is None else self.now - self.state.frozen

    @property
    def paused(self) -> float:
        """How long jobs have waited with none running."""
        return 0.0 if self.state.paused is None else self.now - self.state.paused

    @property
    def idle(self) -> float:
        """How long there has been no job."""
        return 0.0 if self.state.idle is None else self.now - self.state.idle

    @property
    def interrupted(self) -> float:
        """How long ago the running job was asked to give up."""
        return 0.0 if self.state.interrupted is None else self.now - self.state.interrupted

    @property
    def starting(self) -> bool:
        """Whether it has not answered yet in this life."""
        return self.state.answered is None

    @property
    def answers(self) -> bool:
        """Whether its answer was good."""
        return self.seen.reply is Reply.GOOD

    @property
    def works_on(self) -> bool:
        """Whether a job runs, and it is known which."""
        return self.answers and self.state.queue > 0 and self.runs_on and bool(self.state.running)

    @property
    def runs_on(self) -> bool:
        """Whether the job that ran when the queue was last looked at runs still.

        A queue that fills up hides that, but changes nothing of it: what is watched closely is taken to run on until
        a job ends, and not for ever. To end it, it has to be seen once more.
        """
        closely = self.watched_closely and not self.state.over
        return self.seen.queue_seen or (closely and self.stalled < self.stall_after + self.rules.paused)

    @property
    def fails(self) -> bool:
        """Whether it was asked and failed to answer."""
        return self.seen.reply in FAILING

    @property
    def looked_at(self) -> bool:
        """Whether anything was seen of it: else it is told apart neither from a healthy one nor from a dead one."""
        return self.seen.vitals is not None or self.seen.reply is not Reply.UNASKED

    @property
    def answer(self) -> str:
        """What its answer was, in words."""
        return self.seen.reply_text or self.seen.reply.value

    @property
    def foreign(self) -> bool:
        """Whether somebody else answers in its place."""
        return foreign(self.seen)

    @property
    def sick(self) -> bool:
        """Whether ComfyUI itself shows that something is wrong, by more than one bad answer."""
        deaf = self.fails and min(self.failing, self.quiet) >= self.rules.quiet
        waits = self.patience is Patience.ENDLESS
        stalls = self.works_on and not waits and self.stalled >= 0.75 * self.stall_after
        return deaf or stalls or self.state.cuda_errors > 0

    @property
    def patience(self) -> Patience:
        """How long the running job's nodes may be silent."""
        return self.seen.running.patience if self.seen.running else Patience.NORMAL

    @property
    def stall_after(self) -> float:
        """How long the running job may stand still."""
        return self.rules.stall_api_after if self.patience is Patience.REMOTE else self.rules.stall_after

    @property
    def suspicious(self) -> bool:
        """Whether the running job is to be watched more closely; only then its nodes' patience is looked up."""
        waits = self.patience is Patience.ENDLESS
        return self.works_on and not waits and self.stalled >= self.rules.stall_after / 2

    @property
    def moves(self) -> bool:
        """Whether there is work that has moved of late, as far as is known."""
        return not self.fails and self.state.queue > 0 and self.still < self.stall_after

    @property
    def toiled_out(self) -> bool:
        """Whether the running job has worked for too long without moving."""
        return 0 < self.rules.stall_hard_limit <= self.still

    @property
    def hopeless(self) -> bool:
        """Whether the running job is to be ended."""
        return self.works_on and (self.stalled >= self.stall_after or self.toiled_out)

    @property
    def can_interrupt(self) -> bool:
        """Whether the running job, and no other, can be asked to give up, and has not been yet."""
        return self.rules.interrupts and bool(self.state.running) and self.state.interrupted is None

    @property
    def soft_xids(self) -> tuple[int, ...]:
        """The driver's errors that count only with another sign."""
        return tuple(xid for xid in self.seen.gpu.xids if xid in SOFT_XIDS) if self.seen.gpu else ()

    @property
    def gpu_fault(self) -> str:
        """Why its GPU needs a person; empty: it does not."""
        return self.seen.gpu.fault if self.seen.gpu else ""

    @property
    def gpu_cause(self) -> str:
        """The cause's id of that fault."""
        return self.seen.gpu.cause if self.seen.gpu else ""

    @property
    def debugged(self) -> bool:
        """Whether a debugger holds the process."""
        return self.seen.vitals is not None and self.seen.vitals.status == "t"

    @property
    def spared(self) -> bool:
        """Whether a fault of its GPU is no reason to end this life."""
        unknown = self.seen.waits or self.starting or self.seen.reply is Reply.UNASKED
        return unknown or self.debugged or self.moves or self.gpu_cause == "driver_mismatch"

    @property
    def awaits_effect(self) -> bool:
        """Whether what was done last may still take effect."""
        return self.state.acted is not None and self.now - self.state.acted < AGAIN

    @property
    def may_lift(self) -> bool:
        """Whether a hold of ours is up that this life has made pointless."""
        lately = self.state.acted is not None and self.now - self.state.acted < _LIFT_AGAIN
        return self.answers and self.seen.hold_ours and not self.gpu_fault and not lately

    @property
    def handled(self) -> float:
        """How long our hand has been at work."""
        return 0.0 if self.state.handled is None else self.now - self.state.handled

    @property
    def gone(self) -> float:
        """How long nothing has run in the program's place."""
        return 0.0 if self.state.gone is None else self.now - self.state.gone

    @property
    def shaky(self) -> float:
        """How long its answers can't be relied upon."""
        return 0.0 if self.state.shaky is None else self.now - self.state.shaky

    def said(self, row: str) -> bool:
        """Tell whether this row of the table has alerted in this life already."""
        return row in self.state.alerted

    @property
    def fault_of_configuration(self) -> str:
        """The cause's id where the life before ended in a way that the next one would, too; else empty."""
        return self.seen.ending.cause if self.seen.ending and not self.seen.ending.asked_for else ""

    @property
    def counted(self) -> bool:
        """Whether this life's end is among them already."""
        return self.state.counted in self.state.restarts

    @property
    def deaths(self) -> int:
        """Deaths and restarts within the budget's window, but for this life's own."""
        return len(self.state.restarts) - self.counted

    @property
    def spent(self) -> str:
        """How much of the budget is spent, in words."""
        if self.state.given_up:
            return f"it was given up before and has not been well for {self.rules.healthy_after / 60:.0f} min since"
        return f"{len(self.state.restarts)} deaths and restarts within {self.rules.window / 60:.0f} min"

    @property
    def long_still(self) -> float:
        """How long a job that is not to be ended may stand still until that is said."""
        return max(self.rules.stall_alert_after, self.stall_after)

    @property
    def watched_closely(self) -> bool:
        """Whether the look before this one was a close one already."""
        return self.state.word in (Word.SUSPECT, Word.STALLED, Word.RESTARTING, Word.BLIND)

    @property
    def before_next_try(self) -> bool:
        """Whether it was given up and runs all the same, before its next try is due."""
        state = self.state
        return state.given_up and not state.ended and state.next_try is not None and self.now < state.next_try

    @property
    def figures(self) -> str:
        """What the process does, in words."""
        vitals, samples = self.seen.vitals, self.state.samples
        if vitals is None or self.quiet < 1.0:
            return f"the process {self.state.activity}" if self.state.activity else "the process was just started"
        used = max(vitals.cpu - samples[0].cpu, 0.0)
        over = self.now - samples[0].at
        gpu = self.seen.gpu.percent if self.seen.gpu else None
        seen = f"the process used {used:.1f} s of CPU in {over:.0f} s and has been quiet for {self.quiet:.0f} s"
        return seen if gpu is None else f"{seen}, its GPU is at {gpu} %"
