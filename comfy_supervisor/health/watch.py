"""The watch over one instance: look, judge, write down, act; again and again, on a thread of its own."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from .. import rpc
from ..gpu import watch as gpu_watch
from ..jobs.fate import Policy
from ..jobs.job import Job, Process
from ..jobs.job import Life as JobsLife
from ..jobs.porter import Porter, Sighting, Told, Ward
from ..launch import lastword
from .alarms import Alarms
from .blackbox import BlackBox
from .gaps import Gaps
from .hand import Restarter
from .ledger import Decision, Ledger
from .own_errors import OwnErrors
from .policy.evidence import ENDS, Deed, Hand, Life, Observation, Reply, State, Verdict, Word
from .policy.judge import judge
from .senses import heartbeat, vitals
from .senses.look import Senses
from .watched import Watched

_CLOSELY = frozenset({Word.SUSPECT, Word.STALLED, Word.RESTARTING, Word.BLIND})
"""How an instance is when it is looked at more often."""
_WORKS = frozenset({Word.IDLE, Word.BUSY})
"""How it is when it may be given jobs."""


class Watch:
    """Watches one instance until it is told to end."""

    def __init__(
        self,
        watched: Watched,
        supervisor: rpc.Supervisor,
        gpus: gpu_watch.Watch,
        company: Callable[[str, Watched], bool],
        say: Callable[[str], None],
    ) -> None:
        """Keep what is needed; nothing happens yet."""
        boot_id = vitals.boot_id()
        self.watched = watched
        self.state = State()
        self._company = company
        self._say = say
        self._senses = Senses(watched, supervisor, gpus)
        self._box = BlackBox(watched, gpus, say)
        self._hand = Restarter(watched, supervisor, boot_id, vitals.goes_on, say)
        self._hand.box = self._box
        self._ledger = Ledger(watched, boot_id)
        self._gaps = Gaps(Path(watched.state))
        self.alarms = Alarms(watched.program, watched.id, watched.rules, incidents=watched.incidents_keep > 0)
        self._porter = _porter(watched, supervisor.url, say, self._settled, self._journal_fails)
        self._company_until = float("-inf")
        """When what befell others as well counts against this one alone."""
        self._nudged = threading.Event()
        self._ended = self._follows = False
        self._trouble = ""
        self._folder_trouble = ""
        self._maintenance = False
        self.turned = time.monotonic()
        """When it was looked at last."""
        self.errors = OwnErrors()

    def follow(self, earlier: Watch) -> None:
        """Come after another watch over the same instance: what its hand is doing goes on, and is waited for."""
        self._follows = True
        self._hand.follow(earlier._hand)

    def start(self) -> None:
        """Begin, with what an earlier listener knew and had begun."""
        threading.Thread(target=self._run, name=f"watch-{self.watched.id}", daemon=True).start()

    def nudge(self) -> None:
        """Have it looked at now."""
        self._nudged.set()

    def end(self) -> None:
        """Look no more."""
        self._ended = True
        self._porter.end()
        self._nudged.set()

    def _run(self) -> None:
        self.state = self._ledger.recall()
        if self.state.life:
            self._senses.acquaint(self.state.life, answered=self.state.answered is not None)
        if not self._follows:
            self._box.resume()
        self._hand.resume()
        self._porter.start()
        while not self._ended:
            try:
                self._turn()
            except Exception:  # noqa: BLE001  # a bug of ours must neither end the watch nor touch the instance
                self._say(f"{self.watched.program}: our own error, nothing is done: {traceback.format_exc()}")
                self.errors.note(time.monotonic())
            self.turned = time.monotonic()
            self._pause()
            self._nudged.clear()

    def _pause(self) -> None:
        """Wait until it is time for the next look; what ComfyUI's own process tells of itself may make it earlier."""
        rules = self.watched.rules
        over = self.turned + (rules.suspect_every if self.state.word in _CLOSELY else rules.probe_every)
        while (left := over - time.monotonic()) > 0 and not self._nudged.wait(min(left, heartbeat.EVERY)):
            if self._is_alarmed():
                break

    def _is_alarmed(self) -> bool:
        """Tell whether ComfyUI's extension tells of something that is to be acted upon at once."""
        life = self.state.life
        beat = heartbeat.read(self.watched.run, life, time.monotonic()) if life and not self.state.ended else None
        return beat is not None and self.state.word in _WORKS and (beat.worker == "dead" or beat.held == "poisoned")

    def _turn(self) -> None:
        """Look once, and do what follows from it."""
        self._keep_log_folder()
        seen = self._look(time.monotonic())
        now = time.monotonic()
        seen = replace(seen, hand=self._hand.state, company=self._in_company(now))
        if seen.reset:
            self._hand.lift()  # one that was put up while the order was given
        before = self.state
        after, verdict = judge(before, seen, now, self.watched.rules)
        if self._ended:
            return
        self._tell(before, after, seen)
        self._write(before, after, seen, verdict, now)
        self.state = after
        if before.life and seen.life and before.life.process != seen.life.process:
            self._porter.ended(_process(before.life))
        self._porter.see(_sighting(seen, after))
        self._box.notice(before, after, seen, verdict, now)
        self.alarms.look(before, after, seen, verdict, time.time())
        self._act(verdict)

    def _look(self, now: float) -> Observation:
        """Look as closely as what is known asks for."""
        asked = None if self.state.ended else self.state.interrupted
        decides = asked is not None and now - asked >= self.watched.rules.interrupt_wait
        return self._senses.look(now, suspect=self.state.word in _CLOSELY, decides=decides)

    def _settled(self, dead: JobsLife, pairs: list[tuple[Job, Job]]) -> None:
        """Hear what became of jobs."""
        self._box.settled(dead, pairs)
        self.alarms.settled(pairs, time.time())

    def _journal_fails(self, trouble: str) -> None:
        """Hear what is wrong with the journal of the jobs."""
        self.alarms.journal(trouble, time.time())

    def _keep_log_folder(self) -> None:
        """Make the folder of its log if somebody has deleted it: without that, supervisord can't start it."""
        folder = Path(self.watched.log).parent
        if folder.is_dir():
            self._folder_trouble = ""
            return
        try:
            folder.mkdir(0o700, parents=True)
            self._say(f"{self.watched.program}: the folder of its log was gone, and is made again: {folder}")
        except OSError as error:
            trouble = f"{self.watched.program}: the folder of its log can't be made: {folder}: {error.strerror}"
            if trouble != self._folder_trouble:
                self._say(trouble)
            self._folder_trouble = trouble

    def _tell(self, before: State, after: State, seen: Observation) -> None:
        """Say what an operator did, and what befell the life before if that was not our doing."""
        program = self.watched.program
        if seen.maintenance != self._maintenance:
            self._maintenance = seen.maintenance
            news = (
                "begins: nothing is done to it until it ends"
                if seen.maintenance
                else "has ended: it is looked after again"
            )
            self._say(f"{program}: maintenance {news}")
        if seen.life and before.life and seen.life.process != before.life.process and not before.ended:
            told = seen.ending.told if seen.ending else ""
            if told:
                who = "ComfyUI" if after.past > before.past or not before.waits else "its launcher"
                self._say(f"{program}: {who} (pid {before.life.pid}) {told}")

    def _in_company(self, now: float) -> bool:
        """Tell whether others are ill alike, or were so lately: they may merely have recovered a moment sooner."""
        if self._company(self.watched.id, self.watched):
            self._company_until = now + self.watched.rules.quiet
        return now < self._company_until

    def _write(self, before: State, after: State, seen: Observation, verdict: Verdict, now: float) -> None:
        """Write everything down before anything is done."""
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._gaps.look(time.time())
        self._ledger.enter(Decision(at, self.watched.id, now, self.watched.rules, before, seen, verdict))
        self._ledger.show(after, seen, now)
        if (before.word, before.cause) != (after.word, after.cause) or verdict.deed is not Deed.NOTHING:
            self._say(f"{self.watched.program}: {verdict.told}")
        if self._ledger.trouble != self._trouble:
            self._trouble = self._ledger.trouble
            self._say(f"{self.watched.program}: {self._trouble or 'its files are written again'}; supervision goes on")

    def _act(self, verdict: Verdict) -> None:
        if verdict.deed in ENDS:
            if verdict.life:
                self._porter.blame(_process(verdict.life), verdict.cause)
            self._hand.carry_out(verdict)
        elif verdict.deed is Deed.HOLD:
            self._hand.hold(verdict)
        elif verdict.deed is Deed.LIFT:
            self._hand.lift()
        elif verdict.deed is Deed.INTERRUPT and self._porter.ask(verdict.prompt_id):
            self._senses.api.interrupt(verdict.prompt_id, self.watched.rules.deadline)


def _porter(
    watched: Watched, url: str, say: Callable[[str], None], settled: Told, alarm: Callable[[str], None]
) -> Porter:
    policy = Policy(watched.replay, watched.max_age)
    ward = Ward(
        watched.state, watched.url, policy, watched.history, watched.extension, seen_every=watched.rules.probe_every
    )
    ending = partial(lastword.own_ending, url, watched.program.rpartition(":")[2])
    return Porter(ward, lambda text: say(f"{watched.program}: {text}"), settled, ending, alarm)


def _sighting(seen: Observation, state: State) -> Sighting:
    """Return what the jobs' porter needs to know of a look."""
    runs = None if seen.waits or seen.life is None else _process(seen.life)
    answers = seen.reply is Reply.GOOD and not state.ended
    works = state.word in _WORKS and seen.worker != "dead" and not state.poisoned and seen.held != "poisoned"
    ready = answers and works and not seen.maintenance and seen.hand is Hand.IDLE
    return Sighting(runs, answers, ready, work=f"{seen.queue} {state.finished}")


def _process(life: Life) -> Process:
    return Process(life.boot, life.pid, life.started, life.image)
