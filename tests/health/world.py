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

from math import inf

from comfy_supervisor.health.policy.evidence import (
    ENDS,
    RECYCLED,
    Deed,
    Ending,
    Failure,
    Finished,
    Hand,
    Job,
    Life,
    Observation,
    Patience,
    Reply,
    State,
    Verdict,
    Vitals,
    Word,
)
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.model import GpuSight

MODES = ("works", "stalls", "toils", "deaf", "burns", "refuses", "strange", "sleeps")
"""What it does with its jobs and with questions; a job that sleeps between its steps has the extension tell them."""
CLOSELY = frozenset({Word.SUSPECT, Word.STALLED, Word.RESTARTING, Word.BLIND})
WINDOW_OF_CPU = 12.0
"""So long a process seems to work after it has stopped."""
SHOWS = 8.0
"""Seconds of work without a break that show, however the looks fall: fewer may be too little CPU among them."""
JOB_TAKES = 20.0
STEP = 30.0
"""Seconds that a job sleeps at each of its steps."""
GIB = 1024**3
FAULTY = Ending("exited: exit status 2; not expected", "flag_unknown", "it does not know --lowvrm")
_WORKS = ("works", "toils", "burns")
_REPLY = {"deaf": Reply.TIMEOUT, "burns": Reply.TIMEOUT, "refuses": Reply.REFUSED, "strange": Reply.STRANGE}
_TRUTH = {"stalled": ("stalls", "toils"), "api_unresponsive": ("deaf", "burns", "refuses")}
"""For which causes a life may be ended in which mode."""
_SAID = frozenset({"toils", "waits", "paused", "strange"})
"""What is said once in a life, for want of anything to do about it."""


def _stall_after(rules: Rules, patience: Patience) -> float:
    """Return how long a job may stand still."""
    return rules.stall_api_after if patience is Patience.REMOTE else rules.stall_after


def _bounds(rules: Rules, patience: Patience) -> dict[str, float]:
    """Return how long what may be wrong may last until something is done about it, or said."""
    stall_after = _stall_after(rules, patience)
    lasting = max(rules.stall_alert_after, stall_after)
    return {
        "dead": 0.0,
        "T": rules.frozen,
        "deaf": rules.quiet,
        "refuses": rules.quiet,
        "stalls": stall_after,
        "toils": min(rules.stall_hard_limit or inf, lasting),
        "waits": lasting,
        "paused": rules.paused,
        "strange": rules.paused,
    }


class World:
    """One instance, its surroundings, and what the policy remembers of it."""

    def __init__(self, rules: Rules | None = None, extension: bool = False) -> None:  # noqa: PLR0915  # a list
        self.rules = rules or Rules()
        self.extension = extension
        """Whether ComfyUI's own process tells of its work."""
        self.bounds = {patience: _bounds(self.rules, patience) for patience in Patience}
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
        self.doomed = self.frail = False
        """It falls ill soon after each start; it crashes then."""
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
        """When the running job was begun, or work on it that shows, or its last step that the extension tells."""
        self.spell = 0.0
        """How long that has been worked on without a break."""
        self.turned = self.now
        """When a job began or ended last, which anybody can see."""
        self.finished: Finished | None = None
        self.patience = Patience.NORMAL
        """Of the running job's nodes."""
        self.outcome = Failure.NONE
        """How its jobs end."""
        self.outcomes: list[Failure] = []
        """How those of this life have ended."""
        self.poisoned = self.paused = self.worker_dead = False
        """Whether one ended so that no other can do better; whether none may begin; whether none will."""
        self.memory = GIB
        self.device = "cuda"
        # Those around it.
        self.hold = ""
        self.hold_until: float | None = None
        self.hold_ours = False
        self.hand = Hand.IDLE
        self.hand_until = 0.0
        self.target: Life | None = None
        self.killable = True
        self.strong = self.obedient = True
        """Whether the hand's deeds have an effect, and whether a job gives up when it is asked to."""
        self.maintenance = self.company = self.reset = False
        self.fault = ""
        self.xids: tuple[int, ...] = ()
        self.intruder = False
        """Somebody else answers on its port."""
        self.port_seen = self.port_taken = self.misconfigured = False
        """Whether it is told who listens; whether the launcher finds the port taken; whether ComfyUI refuses a flag."""
        # The accounts.
        self.ended: list[tuple[float, Life]] = []
        self.given_up: tuple[float, float] | None = None
        self.sick, self.sick_for, self.deaf_for = "", 0.0, 0.0
        self.told: set[str] = set()
        """What is wrong with this life and was said or acted upon: what lasts is said once."""
        self.last_deed: tuple[float, Life | None] = (0.0, None)
        self.restarts = 0

    # What may happen.

    def submit(self) -> None:
        if not self.jobs:
            self.moved = self.turned = self.now
        self.number += 1
        self.jobs.append(self.number)

    def submit_patient(self, patience: Patience) -> None:
        """Queue a job whose nodes may be silent for longer, if it is to run at once."""
        if not self.jobs:
            self.patience = patience
            self.submit()

    def pause_queue(self) -> None:
        """Have no further job begin; no job is under way then."""
        self.paused = self.paused or (self.place == "up" and not self.jobs)

    def resume_queue(self) -> None:
        if self.paused:
            self.paused, self.moved, self.turned = False, self.now, self.now

    def lose_worker(self) -> None:
        """Have its worker thread die in a job: only the extension can tell."""
        if self.place == "up" and self.jobs and not self.paused and self.answered:
            self.behave("stalls")
            self.worker_dead = True

    def delete(self) -> None:
        """Delete what waits."""
        del self.jobs[1:]

    def behave(self, mode: str) -> None:
        if self.worker_dead:
            return
        mode = "works" if mode == "sleeps" and not self.extension else mode
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
        self.ending = self.ending if self.ending.asked_for else Ending()
        self._pardon()

    def sleep(self, seconds: float) -> None:
        """Nobody looks for a while, during which nothing happens."""
        self.now += seconds
        self.spell = 0.0
        for clock in ("since", "moved", "turned", "hand_until", "behaved"):
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
        self.mode = "works"
        self._forget()

    def _exec(self) -> None:
        self.image += 1
        self.place, self.since = "starting", self.now
        self._forget()

    def _forget(self) -> None:
        """Drop what goes with a life's end."""
        self.jobs.clear()
        self.outcomes.clear()
        self.told.clear()
        self.finished, self.xids, self.memory = None, (), GIB
        self.answered = self.poisoned = self.paused = self.worker_dead = False
        self.patience = Patience.NORMAL

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
        elif self.place == "starting" and lasted >= 1 and self.misconfigured:
            self.crash(FAULTY.text)
            self.ending = FAULTY if self.place == "gone" else self.ending
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
        found = self.hold == "configuration" and not self.hold_ours
        if self.port_taken and not self.hold:
            self.hold, self.hold_ours, self.hold_until = "configuration", False, None
        elif found and not self.port_taken:
            self.hold = ""
        if not self.hold and lasted >= 1:
            self._exec()

    def _work(self, seconds: float) -> None:
        if self.frail and self.place == "up" and self.now - self.since > 10:
            self.crash()
            return
        if self.doomed and self.place == "up" and self.now - self.since > 20:
            self.behave("deaf")
        if self.place == "up" and self.now - self.since > self.rules.healthy_after:
            self.deaths = 0
        runs = bool(self.jobs) and not self.halted
        if self.mode in _WORKS and (runs or self.mode == "burns" or self.place == "starting"):
            self.cpu += 0.5 * seconds
        self._work_on(seconds, runs and self.place == "up")

    def _work_on(self, seconds: float, runs: bool) -> None:
        """Work on the running job, if there is one and it is worked on."""
        self.spell = self.spell + seconds if runs and self.mode == "works" else 0.0
        if self.spell >= SHOWS:
            self.moved = max(self.moved, self.now - self.spell)
        if self.spell >= JOB_TAKES:
            self._end_job(self.outcome)
        elif runs and self.mode == "sleeps" and self.now - self.moved >= STEP:
            self.moved = self.now

    def _end_job(self, outcome: Failure) -> None:
        self.finished = Finished(f"job-{self.jobs.pop(0)}", outcome, "CUDA error")
        self.outcomes.append(outcome)
        self.poisoned |= outcome is Failure.STICKY
        self.moved = self.turned = self.now
        self.spell, self.patience = 0.0, Patience.NORMAL

    @property
    def halted(self) -> bool:
        """Whether no further job begins."""
        return self.paused or (self.extension and self.poisoned)

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
        self.answered |= seen.reply is Reply.GOOD and not self.intruder
        self.looked = self.now
        self._act(self.verdict)
        return self.verdict

    def _seen(self, asked: bool, supervisord: bool, body: bool, queue: bool) -> Observation:
        life, body = self.life, body or self.intruder  # who listens is known wherever its process is
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
            hold_cause="port_in_use" if self.hold == "configuration" and not self.hold_ours else "",
            hold_ours=self.hold_ours and bool(self.hold),
            maintenance=self.maintenance,
            reset=reset,
            reply=reply,
            queue=len(self.jobs) if good else None,
            queue_seen=good and queue,
            running=self._running() if good and queue else None,
            finished=self.finished if good else None,
            vitals=Vitals(self.signal, self.cpu, 0, 0, self.memory, listens=self._listens) if body and up else None,
            log=self.log,
            gpu=GpuSight(fault=self.fault, xids=self.xids) if up and (self.fault or self.xids) else None,
            device=self.device if good else "",
            worker=("dead" if self.worker_dead else "alive") if good and self.extension else "",
            held=self._held if good and self.extension else "",
            progress=self.moved if good and self.extension and self.jobs else 0.0,
            ending=self.ending,
            hand=self.hand,
            company=self.company,
        )

    def _running(self) -> Job | None:
        if not self.jobs or self.halted:
            return None
        known = self.verdict.word in CLOSELY or self.patience is Patience.ENDLESS  # else nobody has looked it up
        return Job(f"job-{self.jobs[0]}", self.patience if known else Patience.NORMAL)

    @property
    def _held(self) -> str:
        if self.poisoned:
            return "poisoned"
        return "paused" if self.paused else ""

    @property
    def _listens(self) -> bool | None:
        if self.intruder or (self.port_seen and (self.mode == "refuses" or self.place == "starting")):
            return False
        return True if self.port_seen else None

    def _reply(self, asked: bool) -> Reply:
        if not asked or self.place in ("gone", "stopped", "launcher"):
            return Reply.UNASKED
        if self.intruder:
            return Reply.GOOD
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
        elif verdict.deed is Deed.INTERRUPT and self.obedient and not self.worker_dead and self.jobs:
            self._end_job(Failure.NONE)

    # The promises.

    def _check(self, seen: Observation, verdict: Verdict, plain: bool) -> None:
        assert verdict.reason, verdict
        assert not verdict.reason.startswith("not done"), verdict
        self._time_sickness(seen, verdict, plain)
        if verdict.deed in ENDS:
            self._check_end(seen, verdict)
        if verdict.deed is Deed.INTERRUPT:
            toiled = self._has_toiled
            assert self._could_be("stalls") or toiled, f"7: a job was interrupted that goes on: {verdict}"
            assert self.patience is not Patience.ENDLESS, f"7: it waits for a person: {verdict}"
            assert toiled or self.now - self.moved >= self.stall_after, f"7: its job moves: {verdict}"
            assert verdict.prompt_id == f"job-{self.jobs[0]}"
        if verdict.deed is not Deed.NOTHING and verdict.deed is not Deed.ALERT:
            assert self.place != "stopped", f"5: it was stopped by an operator: {verdict}"
            assert self.stopping is None, f"5: it is being stopped by an operator: {verdict}"
            assert not self.maintenance, verdict
        if verdict.hold:
            self._check_hold(seen, verdict)
        if verdict.deed in ENDS or verdict.deed is Deed.INTERRUPT:
            by_answers = verdict.deed is Deed.INTERRUPT or verdict.cause in _TRUTH
            assert seen.reply is not Reply.UNASKED or (not by_answers and seen.vitals), f"8: our own error: {verdict}"
            assert seen.supervised, f"8: our own error: {verdict}"

    def _check_hold(self, seen: Observation, verdict: Verdict) -> None:
        if verdict.hold == "gpu_fault":
            assert self.fault, f"8: its GPU is well: {verdict}"
        if verdict.deed is Deed.HOLD and verdict.hold == "configuration":
            assert self.ending.cause, f"8: it could start: {verdict}"
            answers = self.answered or (seen.reply is Reply.GOOD and not self.intruder)
            assert not answers, f"8: it has started: {verdict}"

    def _check_end(self, seen: Observation, verdict: Verdict) -> None:
        at, life = self.last_deed
        assert self.hand is Hand.IDLE, f"1: a restart is in flight: {verdict}"
        assert life != verdict.life or self.now - at >= 10, f"1: asked for twice: {verdict}"
        self.last_deed = (self.now, verdict.life)
        if not self.answered:
            assert self.place != "starting" or self.now - self.since >= self.rules.start_grace, f"2: {verdict}"
        assert verdict.life == self.life, f"3: that life is over: {verdict}"
        self._check_budget(verdict)
        self._check_cause(verdict)
        allowed = _TRUTH.get(verdict.cause)
        if self.answered and allowed:
            toiled = self._has_toiled and verdict.cause == "stalled"
            assert self._could_be(*allowed) or self.signal != "S" or toiled, f"7: nothing is wrong: {verdict}"
        assert self.signal != "t" or seen.vitals is None, f"7: a debugger holds it: {verdict}"
        if self.answered and verdict.cause == "api_unresponsive":
            assert self.deaf_for >= self.rules.quiet - 1e-6, f"8: {self.deaf_for:.0f} s of evidence: {verdict}"
        if verdict.cause == "process_stopped":
            assert self.signal == "T", verdict
        if seen.company and verdict.cause in ("stalled", "api_unresponsive"):
            assert seen.vitals is not None, verdict
            assert seen.vitals.listens is False, f"all at once: {verdict}"

    def _check_cause(self, verdict: Verdict) -> None:
        """Tell of what only some causes ask for."""
        if verdict.cause == "worker_thread_died":
            assert self.worker_dead, verdict
        if verdict.cause == "cuda_poisoned":
            most, ends = self.rules.cuda_errors, self.outcomes
            in_a_row = any(set(ends[at : at + most]) == {Failure.CUDA} for at in range(len(ends) - most + 1))
            poisoned = self.poisoned or in_a_row  # better ones since then may be unseen
            ill = self._could_be("stalls", "deaf", "burns", "refuses") or Failure.CUDA in ends
            assert poisoned or (self.xids and ill), f"8: nothing is poisoned: {verdict}"
        if verdict.cause == "cpu_fallback":
            assert self.device == "cpu", verdict
        if verdict.cause == RECYCLED:
            assert not self.jobs, f"7: it is not idle: {verdict}"
        if verdict.cause == "stalled" and self.answered:
            assert self.patience is not Patience.ENDLESS, f"7: it waits for a person: {verdict}"

    @property
    def _has_toiled(self) -> bool:
        """Whether the running job has worked for longer than it may, as far as anybody can see."""
        return 0 < self.rules.stall_hard_limit <= self.now - self._seen_to_move

    @property
    def _seen_to_move(self) -> float:
        """When its work moved last, as far as anybody can see who is not told: by its jobs alone."""
        return self.moved if self.extension else self.turned

    @property
    def stall_after(self) -> float:
        """How long the running job may stand still."""
        return _stall_after(self.rules, self.patience)

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
        elif verdict.hold in ("", "backoff") and verdict.cause != RECYCLED:
            if all(life != verdict.life for _, life in self.ended):  # else tried again, for want of effect
                self.ended.append((self.now, verdict.life))
            lives = {life for at, life in self.ended if at > self.now - self.rules.window}
            assert len(lives) <= self.rules.budget, f"4: {verdict}"

    def _time_sickness(self, seen: Observation, verdict: Verdict, plain: bool) -> None:
        """6: what is wrong, and seen without a doubt, is acted upon or said within its time."""
        gap = self.now - self.looked
        sick = self._sickness(seen) if plain else ""
        in_time = plain and gap <= 30
        fails = seen.reply in (Reply.TIMEOUT, Reply.REFUSED) and self.answered
        if (seen.reply in (Reply.GOOD, Reply.STRANGE) and not self.intruder) or not self.answered:
            self.deaf_for = 0.0
        elif fails and (seen.vitals is None or seen.vitals.status != "t"):
            self.deaf_for += gap if self.deaf_for and 0 <= gap <= 30 else 1e-9
        undisturbed = in_time and sick and sick == self.sick
        self.sick_for = self.sick_for + gap if undisturbed else 0.0
        self.sick = sick if in_time else ""
        if verdict.deed is not Deed.NOTHING or verdict.word is Word.GAVE_UP:
            self.sick_for = 0.0
            self.told.add(self._ailment())
        if self.sick_for:
            most = self._bound(sick) + WINDOW_OF_CPU + 10
            assert self.sick_for <= most, f"6: {sick} for {self.sick_for:.0f} s: {verdict}"

    def _bound(self, sick: str) -> float:
        """Return how long this may last from now on, what was said of it being said."""
        if sick not in _SAID or sick not in self.told:
            return self.bounds[self.patience][sick]
        return self.rules.stall_hard_limit or inf if sick == "toils" else inf

    def _sickness(self, seen: Observation) -> str:
        """Return what is wrong where nothing hinders us to do something about it."""
        hindered = (
            self.stopping is not None
            or self.maintenance
            or self.hand is not Hand.IDLE
            or self.fault
            or self.intruder
            or not self.answered
        )
        if hindered or self.place != "up" or seen.vitals is None or not seen.supervised:
            return ""
        if self.company and self.signal == "S":
            return ""  # said once in a life
        if self.signal != "S":
            return self.signal if self.signal == "T" else ""
        return self._ailment()

    def _ailment(self) -> str:
        """Return what is wrong, whether or not it can be seen."""
        if self.mode in ("deaf", "refuses", "strange"):
            return self.mode
        if not self.jobs or self.mode == "burns":
            return ""
        if self.worker_dead and self.extension:
            return "dead"
        if self.halted:
            return "" if self.extension else "paused"
        if self.patience is Patience.ENDLESS:
            return "waits" if self.mode == "stalls" else ""
        return self.mode if self.mode in ("stalls", "toils") else ""
