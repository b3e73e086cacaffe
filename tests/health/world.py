"""A toy world of one instance: it starts, works, sickens and dies, is looked at, judged, and dealt with.

The world knows the truth; the policy sees looks only. After each look the promises are checked against the truth:

1. At most one restart of an instance is in flight.
2. None of a starting instance within its grace.
3. Nothing is done to a life that is over.
4. The budget is never exceeded, but for the tries of an instance that was given up.
5. What an operator stopped stays stopped.
6. Every stall is acted on or said, within its bound.
7. A running job with progress is never interrupted.
8. Our own error never counts as the instance's failure.
"""

from __future__ import annotations

from comfy_supervisor.health.policy.evidence import (
    ENDS,
    Deed,
    Ending,
    Finished,
    Hand,
    Job,
    Life,
    Observation,
    Reply,
    State,
    Verdict,
    Vitals,
    Word,
)
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.model import GpuSight

MODES = ("works", "stalls", "toils", "deaf", "burns", "refuses")
CLOSELY = frozenset({Word.SUSPECT, Word.STALLED, Word.RESTARTING, Word.BLIND})
WINDOW_OF_CPU = 12.0
"""So long a process seems to work after it has stopped."""
SHOWS = 8.0
"""Seconds of work without a break that show, however the looks fall: fewer may be too little CPU among them."""
JOB_TAKES = 20.0
_ANSWERS = ("works", "stalls", "toils")
_WORKS = ("works", "toils", "burns")
_REPLY = {"deaf": Reply.TIMEOUT, "burns": Reply.TIMEOUT, "refuses": Reply.REFUSED}
_TRUTH = {"stalled": ("stalls", "toils"), "api_unresponsive": ("deaf", "burns", "refuses")}
"""For which causes a life may be ended in which mode."""


class World:
    """One instance, its surroundings, and what the policy remembers of it."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.state = State()
        self.verdict = Verdict(Word.STOPPED)
        self.now = 1000.0
        self.looked = self.now
        # The process.
        self.place = "gone"
        """gone, launcher, starting, up, or stopped by an operator"""
        self.since = self.now
        self.pid, self.started, self.image = 100, self.now, 1
        self.start_takes = 20.0
        self.stopping: float | None = None
        """When the operator's stop has its effect."""
        self.doomed = False
        """It falls ill soon after each start."""
        self.mode, self.signal = "works", "S"
        self.behaved = self.now
        self.answered = False
        self.cpu = 0.0
        self.log = 0
        self.ending = Ending()
        self.deaths = 0
        # Its work.
        self.jobs: list[int] = []
        self.number = 0
        self.moved = self.now
        """When the running job was begun, or work on it that shows."""
        self.spell = 0.0
        """How long that has been worked on without a break."""
        self.finished: Finished | None = None
        # Those around it.
        self.hold = ""
        self.hold_until: float | None = None
        self.hold_ours = False
        self.hand = Hand.IDLE
        self.hand_until = 0.0
        self.target: Life | None = None
        self.killable = True
        self.strong = True
        """Whether the hand's deeds have an effect."""
        self.maintenance = self.company = self.reset = False
        self.fault = ""
        # The accounts.
        self.ended: list[tuple[float, Life]] = []
        self.given_up: tuple[float, float] | None = None
        self.sick, self.sick_for, self.deaf_for = "", 0.0, 0.0
        self.last_deed: tuple[float, Life | None] = (0.0, None)
        self.restarts = 0

    # What may happen.

    def submit(self) -> None:
        if not self.jobs:
            self.moved = self.now
        self.number += 1
        self.jobs.append(self.number)

    def delete(self) -> None:
        """Delete what waits."""
        del self.jobs[1:]

    def behave(self, mode: str) -> None:
        if mode != self.mode:
            self.behaved = self.now
        self.mode = mode

    def send(self, signal: str) -> None:
        """Stop the process by a signal (T) or a debugger (t), or let it go on (S)."""
        if self.place in ("starting", "up"):
            self.signal = signal

    def crash(self, text: str = "exited: terminated by SIGSEGV; not expected") -> None:
        if self.place in ("launcher", "starting", "up"):
            self.deaths = self.deaths + 1 if self.place != "launcher" else self.deaths
            self._die(text)

    def reexec(self) -> None:
        """ComfyUI-Manager's restart: the same process, another image."""
        if self.place == "up":
            self._exec()

    def stop(self) -> None:
        """An operator's supervisorctl stop, which takes a while where there is something to stop."""
        if self.place in ("starting", "up") and self.stopping is None:
            self.stopping = self.now + 8
        elif self.place in ("gone", "launcher"):
            self._end("stopped: terminated by SIGTERM", "stopped")

    def start(self) -> None:
        if self.place == "stopped":
            self.place, self.since = "gone", self.now - 1

    def operator_restart(self) -> None:
        if self.hand is Hand.IDLE and self.place != "stopped":  # else the policy can't tell whose it was
            self._end("stopped: terminated by SIGTERM", "gone")

    def forgive(self) -> None:
        """An operator's comfy-supervisor reset."""
        self.reset = True
        self.hold, self.deaths = "", 0
        self._pardon()

    def sleep(self, seconds: float) -> None:
        """Nobody looks for a while, during which nothing happens."""
        self.now += seconds
        self.spell = 0.0
        for clock in ("since", "moved", "hand_until", "behaved"):
            setattr(self, clock, getattr(self, clock) + seconds)
        self.hold_until = None if self.hold_until is None else self.hold_until + seconds
        self.stopping = None if self.stopping is None else self.stopping + seconds

    def _end(self, text: str, place: str) -> None:
        """End by an operator's word."""
        self._die(text)
        self.place = place
        self._pardon()

    def _pardon(self) -> None:
        self.ended, self.given_up, self.deaths = [], None, 0

    def _die(self, text: str) -> None:
        self.place, self.since, self.ending, self.signal = "gone", self.now, Ending(text), "S"
        if self.stopping is not None:
            self.place, self.stopping = "stopped", None
            self._pardon()
        self.jobs.clear()
        self.mode, self.answered = "works", False

    def _exec(self) -> None:
        self.image += 1
        self.place, self.since, self.answered = "starting", self.now, False
        self.jobs.clear()

    # What happens by itself.

    def advance(self, seconds: float) -> None:
        """Let time pass, a few seconds at most."""
        self.now += seconds
        self._hand()
        if self.stopping is not None and self.now >= self.stopping:
            self._die("stopped: terminated by SIGTERM")
        lasted = self.now - self.since
        if self.place == "gone" and lasted >= 1:
            self._spawn()
        elif self.place == "launcher":
            self._launch(lasted)
        elif self.place == "starting" and lasted >= self.start_takes:
            self.place, self.since = "up", self.now
        if self.signal == "S" and self.place in ("starting", "up"):
            self._work(seconds)
        else:
            self.spell = 0.0

    def _spawn(self) -> None:
        self.pid = 100 + self.number % 2  # pids come again, often at once
        self.place, self.since, self.started = "launcher", self.now, self.now
        if not self.hold and self.deaths > 1:
            self.hold, self.hold_ours = "backoff", False
            self.hold_until = self.now + self.rules.delay(self.deaths)

    def _launch(self, lasted: float) -> None:
        if self.hold and self.hold_until is not None and self.now >= self.hold_until:
            self.hold = ""
        if not self.hold and lasted >= 1:
            self._exec()

    def _work(self, seconds: float) -> None:
        if self.doomed and self.place == "up" and self.now - self.since > 20:
            self.behave("deaf")
        if self.place == "up" and self.now - self.since > self.rules.healthy_after:
            self.deaths = 0
        if self.mode in _WORKS and (self.jobs or self.mode == "burns" or self.place == "starting"):
            self.cpu += 0.5 * seconds
        self._work_on(seconds)

    def _work_on(self, seconds: float) -> None:
        """Work on the running job, if it is worked on."""
        works = self.mode == "works" and self.place == "up" and bool(self.jobs)
        self.spell = self.spell + seconds if works else 0.0
        if self.spell >= SHOWS:
            self.moved = max(self.moved, self.now - self.spell)
        if self.spell >= JOB_TAKES:
            self._end_job()

    def _end_job(self) -> None:
        self.finished = Finished(f"job-{self.jobs.pop(0)}")
        self.moved, self.spell = self.now, 0.0

    def _hand(self) -> None:
        if self.hand is Hand.IDLE or self.now < self.hand_until:
            return
        if self.target != self.life or not self.strong:
            self.hand = Hand.IDLE
        elif self.killable:
            self.hand = Hand.IDLE
            self._die("exited: terminated by SIGKILL; not expected")
        else:
            self.hand = Hand.STUCK

    @property
    def life(self) -> Life | None:
        if self.place in ("gone", "stopped"):
            return None
        return Life("boot", self.pid, self.started, 0 if self.place == "launcher" else self.image)

    # Looking.

    def pause(self) -> float:
        """Return how long the listener waits until the next look."""
        return self.rules.suspect_every if self.verdict.word in CLOSELY else self.rules.probe_every

    def watch(self, seconds: float) -> None:
        """Look on as the listener does."""
        end = self.now + seconds
        while self.now < end:
            self.advance(self.pause())
            self.look()

    def look(self, asked: bool = True, supervisord: bool = True, body: bool = True, queue: bool = True) -> Verdict:
        """Look, judge, check the promises, and do what is to be done."""
        seen = self._seen(asked, supervisord, body, queue)
        self.state, self.verdict = judge(self.state, seen, self.now, self.rules)
        self._check(seen, self.verdict, plain=asked and supervisord and body and queue)
        self.answered |= seen.reply is Reply.GOOD
        self.looked = self.now
        self._act(self.verdict)
        return self.verdict

    def _seen(self, asked: bool, supervisord: bool, body: bool, queue: bool) -> Observation:
        life = self.life
        supervised = {"stopped": "STOPPED", "gone": "BACKOFF"}.get(self.place, "RUNNING") if supervisord else ""
        if supervised and self.stopping is not None:
            supervised = "STOPPING"
        reset, self.reset = self.reset, False
        reply = self._reply(asked)
        up = life is not None and self.place != "launcher"
        good = reply is Reply.GOOD
        return Observation(
            supervised,
            life,
            age=self.now - self.started,
            waits=self.place == "launcher",
            hold=self.hold,
            hold_text="held",
            hold_ours=self.hold_ours and bool(self.hold),
            maintenance=self.maintenance,
            reset=reset,
            reply=reply,
            queue=len(self.jobs) if good else None,
            queue_seen=good and queue,
            running=Job(f"job-{self.jobs[0]}") if good and queue and self.jobs else None,
            finished=self.finished if good else None,
            vitals=Vitals(self.signal, self.cpu, 0, 0, 0) if body and up else None,
            log=self.log,
            gpu=GpuSight(fault=self.fault) if up and self.fault else None,
            device="cuda",
            ending=self.ending,
            hand=self.hand,
            company=self.company,
        )

    def _reply(self, asked: bool) -> Reply:
        if not asked or self.place in ("gone", "stopped", "launcher"):
            return Reply.UNASKED
        if self.signal != "S":
            return Reply.TIMEOUT
        if self.place == "starting":
            return Reply.REFUSED
        return _REPLY.get(self.mode, Reply.GOOD)

    def _act(self, verdict: Verdict) -> None:
        if verdict.hold:
            self.hold, self.hold_ours = verdict.hold, True
            self.hold_until = None if verdict.hold_seconds is None else self.now + verdict.hold_seconds
        if verdict.deed in ENDS:
            self.hand, self.hand_until, self.target = Hand.BUSY, self.now + 7, verdict.life
            self.restarts += 1
        elif verdict.deed is Deed.LIFT:
            self.hold = ""
        elif verdict.deed is Deed.INTERRUPT and self.strong and self.mode == "stalls" and self.jobs:
            self._end_job()

    # The promises.

    def _check(self, seen: Observation, verdict: Verdict, plain: bool) -> None:
        assert verdict.reason, verdict
        assert not verdict.reason.startswith("not done"), verdict
        self._time_sickness(seen, verdict, plain)
        if verdict.deed in ENDS:
            self._check_end(seen, verdict)
        if verdict.deed is Deed.INTERRUPT:
            assert self._could_be("stalls"), f"7: a job was interrupted that goes on: {verdict}"
            assert self.now - self.moved >= self.rules.stall_after, f"7: its job moves: {verdict}"
            assert verdict.prompt_id == f"job-{self.jobs[0]}"
        if verdict.deed is not Deed.NOTHING and verdict.deed is not Deed.ALERT:
            assert self.place != "stopped", f"5: it was stopped by an operator: {verdict}"
            assert self.stopping is None, f"5: it is being stopped by an operator: {verdict}"
            assert not self.maintenance, verdict
        if verdict.deed in ENDS or verdict.deed is Deed.INTERRUPT:
            assert seen.reply is not Reply.UNASKED, f"8: our own error: {verdict}"
            assert seen.supervised, f"8: our own error: {verdict}"

    def _check_end(self, seen: Observation, verdict: Verdict) -> None:
        at, life = self.last_deed
        assert self.hand is Hand.IDLE, f"1: a restart is in flight: {verdict}"
        assert life != verdict.life or self.now - at >= 10, f"1: asked for twice: {verdict}"
        self.last_deed = (self.now, verdict.life)
        if not self.answered:
            assert self.place != "starting" or self.now - self.since >= self.rules.start_grace, f"2: {verdict}"
        assert verdict.life == self.life, f"3: that life is over: {verdict}"
        self._check_budget(verdict)
        allowed = _TRUTH.get(verdict.cause)
        if self.answered and allowed:
            assert self._could_be(*allowed), f"7: nothing is wrong: {verdict}"
        if self.answered and verdict.cause == "api_unresponsive":
            assert self.deaf_for >= self.rules.quiet - 1e-6, f"8: {self.deaf_for:.0f} s of evidence: {verdict}"
        if verdict.cause == "process_stopped":
            assert self.signal == "T", verdict
        if seen.company and verdict.cause in ("stalled", "api_unresponsive"):
            assert seen.vitals is not None, verdict
            assert seen.vitals.listens is False, f"all at once: {verdict}"

    def _could_be(self, *modes: str) -> bool:
        """Tell whether it is in one of these modes, or was a moment ago: work that begins takes a while to show."""
        return self.mode in modes or self.now - self.behaved < WINDOW_OF_CPU

    def _check_budget(self, verdict: Verdict) -> None:
        """4: so many in an hour, and once given up, one try every quarter."""
        assert verdict.life is not None
        if verdict.hold == "gave_up":
            at, process = self.given_up or (0.0, 0.0)
            late = self.now - at >= self.rules.retry_after
            assert late or process == self.started, f"4: a try too many: {verdict}"
            self.given_up = (self.now, self.started)
        elif verdict.hold in ("", "backoff"):
            if all(life != verdict.life for _, life in self.ended):  # else tried again, for want of effect
                self.ended.append((self.now, verdict.life))
            lives = {life for at, life in self.ended if at > self.now - self.rules.window}
            assert len(lives) <= self.rules.budget, f"4: {verdict}"

    def _time_sickness(self, seen: Observation, verdict: Verdict, plain: bool) -> None:
        """6: what is wrong, and seen without a doubt, is acted upon or said within its time."""
        gap = self.now - self.looked
        sick = self._sickness(seen) if plain else ""
        told = plain and gap <= 30
        fails = seen.reply in (Reply.TIMEOUT, Reply.REFUSED) and self.answered
        if seen.reply is Reply.GOOD or not self.answered:
            self.deaf_for = 0.0
        elif fails and (seen.vitals is None or seen.vitals.status != "t"):
            self.deaf_for += gap if self.deaf_for and 0 <= gap <= 30 else 1e-9
        undisturbed = told and sick and sick == self.sick
        self.sick_for = self.sick_for + gap if undisturbed else 0.0
        self.sick = sick if told else ""
        if verdict.deed is not Deed.NOTHING or verdict.word is Word.GAVE_UP:
            self.sick_for = 0.0
        bound = {"stalls": self.rules.stall_after, "deaf": self.rules.quiet, "refuses": self.rules.quiet, "T": 10.0}
        assert self.sick_for <= bound.get(sick, 1e9) + WINDOW_OF_CPU + 10, f"6: {sick} for {self.sick_for:.0f} s"

    def _sickness(self, seen: Observation) -> str:
        """Return what is wrong where nothing hinders us to do something about it."""
        hindered = (
            self.stopping is not None
            or self.maintenance
            or self.hand is not Hand.IDLE
            or self.fault
            or not self.answered
        )
        if hindered or self.place != "up" or seen.vitals is None or not seen.supervised:
            return ""
        if self.company and self.signal == "S":
            return ""  # said once in a life
        if self.signal != "S":
            return self.signal if self.signal == "T" else ""
        if self.mode == "stalls" and not self.jobs:
            return ""
        return self.mode if self.mode in ("stalls", "deaf", "refuses") else ""
