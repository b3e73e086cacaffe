"""Our health listener over the instances: the real policy, fleet, and codec; a simulated hand, and simulated senses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from comfy_supervisor import codec
from comfy_supervisor.health import watch
from comfy_supervisor.health.policy import fleet
from comfy_supervisor.health.policy.evidence import (
    ENDS,
    Deed,
    Failure,
    Finished,
    Hand,
    Life,
    Observation,
    Reply,
    State,
    Verdict,
    Vitals,
    Word,
)
from comfy_supervisor.health.policy.evidence import Job as RunningJob
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.launch import holds
from comfy_supervisor.model import GpuSight
from tests.health.world import CLOSELY

from .clockwork import Clockwork
from .instance import Instance, Place
from .launcher import Launcher
from .load import Job
from .promises import Promises
from .queues import Kept

LISTENER = "listener"
_BOX = 3.0
"""Seconds that the black box takes before a life is ended; a process that is stopped is only glanced at …"""
_GLANCE = 0.5
_STOP = 10.0
"""… then SIGINT has so long (stopwaitsecs), then SIGKILL."""
_EXIT = 1.5
"""Seconds that ComfyUI takes to end."""
_SUPERVISED = {Place.GONE: "BACKOFF", Place.STOPPED: "STOPPED"}
_GIB = 1024**3


@dataclass
class Trouble:
    """What is wrong with our own side."""

    supervisord: bool = False
    probes: bool = False
    nvml: bool = False


@dataclass
class Patient:
    """What we know of one instance, and do to it."""

    instance: Instance
    queue: Kept
    launcher: Launcher
    promises: Promises
    state: State = field(default_factory=State)
    verdict: Verdict = field(default_factory=lambda: Verdict(Word.STOPPED))
    hand: Hand = Hand.IDLE
    target: Life | None = None
    reset: bool = False
    company_until: float = float("-inf")
    token: int = 0
    """Of the look that is due."""
    looked: float = 0.0
    next: float = 0.0


class Ours:
    """The listener, and what belongs to it."""

    def __init__(self, clockwork: Clockwork, instances: Sequence[Instance], rules: Rules | None = None) -> None:
        """Watch over these."""
        self.rules = rules or Rules()
        self._clockwork = clockwork
        self.trouble = Trouble()
        self.patients: dict[str, Patient] = {}
        self.calm: Callable[[Patient], bool] = lambda _: False
        """Hears of each look that found nothing wrong; tells whether no more of them are needed for now."""
        self.decisions: list[tuple[float, str, str]] = []
        for each in instances:
            assert isinstance(each.queue, Kept)
            promises = Promises(each, self.rules)
            patient = Patient(each, each.queue, Launcher(each, self.rules), promises)
            self.patients[each.name] = patient
            self._due(patient, 1.0)

    # looks

    def _due(self, patient: Patient, seconds: float) -> None:
        """Have the next look in so many seconds, in place of any other."""
        patient.token += 1
        patient.next = self._clockwork.now + seconds
        self._clockwork.at(patient.next, self._look, patient, patient.token)

    def nudge(self, instance: Instance) -> None:
        """Have it looked at now: supervisord tells of it, or ComfyUI's extension."""
        self._due(self.patients[instance.name], 0.125)

    def wake(self, patient: Patient, when: float) -> None:
        """Look again from then on, at one of the moments at which it would have been looked at."""
        every = self.rules.probe_every
        missed = max(0, int((when - patient.next) // every) + 1)
        self._due(patient, patient.next + missed * every - self._clockwork.now)

    def _look(self, patient: Patient, token: int) -> None:
        if token != patient.token:
            return
        reply = self._reply(patient)
        if reply is Reply.TIMEOUT:
            self._clockwork.at(self._clockwork.now + self.rules.deadline, self._late, patient, token)
            return
        self._turn(patient, reply)

    def _late(self, patient: Patient, token: int) -> None:
        """The answer comes at last, or does not."""
        if token == patient.token:
            self._turn(patient, self._reply(patient))

    def _reply(self, patient: Patient) -> Reply:
        one = patient.instance
        if self.trouble.probes or one.place not in (Place.STARTING, Place.UP):
            return Reply.UNASKED
        if one.place is Place.STARTING:
            return Reply.REFUSED
        return one.ail.reply if one.ail else Reply.GOOD

    def _turn(self, patient: Patient, reply: Reply) -> None:
        now, name = self._clockwork.now, patient.instance.name
        seen = self._seen(patient, reply)
        before = patient.state
        after, verdict = judge(before, seen, now, self.rules)
        self._hinder(patient, seen, now)
        patient.promises.check(seen, verdict, before)
        patient.state, patient.verdict, patient.looked = after, verdict, now
        patient.instance.accounts.looks += 1
        self._write(before, after, verdict, name, now)
        self._act(patient, verdict)
        self._carry(patient, seen)
        if self.calm(patient):
            return
        self._due(patient, self.rules.suspect_every if verdict.word in CLOSELY else self.rules.probe_every)

    def _hinder(self, patient: Patient, seen: Observation, now: float) -> None:
        """Have the promises know when we could do nothing."""
        hindered = seen.company or not seen.supervised or self.trouble.probes or now - patient.looked > 30
        if hindered or patient.instance.planned or (patient.instance.ail is not None and patient.instance.ail.honest):
            patient.promises.hindered = now

    def _write(self, before: State, after: State, verdict: Verdict, name: str, now: float) -> None:
        if verdict.deed is Deed.NOTHING and (before.word, before.cause) == (after.word, after.cause):
            return
        self._clockwork.note(name, verdict.told)
        self.decisions.append((now, name, f"{verdict.word.value} {verdict.deed.value} {verdict.cause}"))

    def _carry(self, patient: Patient, seen: Observation) -> None:
        """Have the porter look after the jobs, where the instance may be given some."""
        sighting = watch._sighting(seen, patient.state)
        queue = patient.queue
        if sighting.answers and sighting.ready:
            queue.look_after()
            patient.instance.pump()
        elif queue.life:
            queue.beat()

    # senses

    def _seen(self, patient: Patient, reply: Reply) -> Observation:
        one, queue, launcher = patient.instance, patient.queue, patient.launcher
        comfyui = one.place in (Place.STARTING, Place.UP)
        good = reply is Reply.GOOD
        reset, patient.reset = patient.reset, False
        hold = launcher.hold
        return Observation(
            "" if self.trouble.supervisord else _SUPERVISED.get(one.place, "RUNNING"),
            one.life,
            age=one.now - one.started,
            waits=one.place is Place.LAUNCHER,
            lives=launcher.start.lives if launcher.start else 0,
            hold=hold.reason if hold else "",
            hold_text=hold.text if hold else "",
            hold_cause=hold.cause if hold else "",
            hold_ours=bool(hold) and hold.by == LISTENER if hold else False,
            reset=reset,
            reply=reply,
            queue=len(queue) if good else None,
            queue_seen=good,
            running=self._running(one) if good else None,
            finished=one.finished if good else None,
            vitals=_vitals(one) if comfyui else None,
            log=one.log if one.place is Place.UP else int(one.now - one.since) * (one.body.cores > 0),
            gpu=_gpu(one) if comfyui and not self.trouble.nvml else None,
            device="cuda",
            ending=one.ending,
            hand=patient.hand,
            worker=_worker(one) if good else "",
            held=queue.life.gate.held if good and queue.life else "",
            progress=_progress(one) if good else 0.0,
            company=self._in_company(patient),
        )

    @staticmethod
    def _running(one: Instance) -> RunningJob | None:
        job = one.queue.running
        if job is None:
            return None
        return RunningJob(job.prompt_id, job.fault.patience) if job.fault else RunningJob(job.prompt_id)

    def _in_company(self, patient: Patient) -> bool:
        """Do as the watch does."""
        now, states = self._clockwork.now, {name: each.state for name, each in self.patients.items()}
        if patient.state.ill is not None and fleet.company(patient.instance.name, states, self.rules):
            patient.company_until = now + self.rules.quiet
        return now < patient.company_until

    # deeds

    def _act(self, patient: Patient, verdict: Verdict) -> None:
        one = patient.instance
        if verdict.deed is not Deed.NOTHING or verdict.word is Word.GAVE_UP:
            one.noticed()
        if verdict.hold:
            wall = self._clockwork.wall
            until = None if verdict.hold_seconds is None else wall + verdict.hold_seconds
            patient.launcher.hold = holds.Hold(verdict.hold, verdict.reason, wall, until, LISTENER)
        if verdict.deed in ENDS:
            self._end(patient, verdict)
        elif verdict.deed is Deed.LIFT:
            patient.launcher.hold = None
        elif verdict.deed is Deed.INTERRUPT and one.queue.running:
            self._interrupt(patient)

    def _interrupt(self, patient: Patient) -> None:
        one, queue = patient.instance, patient.queue
        job = one.queue.running
        assert job
        if _is_honest(one):
            one.accounts.interrupted[job.fault.name if job.fault else "honest"] += 1
        queue.ask()
        one.give_up()

    def _end(self, patient: Patient, verdict: Verdict) -> None:
        one = patient.instance
        one.accounts.restarts["ours"] += 1
        if one.is_well and _is_honest(one):
            fault = one.queue.running.fault if one.queue.running else None
            one.accounts.false[one.ail.name if one.ail else fault.name if fault else "well"] += 1
        patient.hand, patient.target = Hand.BUSY, verdict.life
        heard = one.ail is None or one.ail.ends
        seconds = _GLANCE if verdict.deed is Deed.KILL else _BOX + (_EXIT if heard else _STOP)
        text = "terminated by SIGKILL" if verdict.deed is Deed.KILL or not heard else "exit status 0"
        self._clockwork.at(
            self._clockwork.now + seconds, self._ended, patient, verdict, f"exited: {text}; not expected"
        )

    def _ended(self, patient: Patient, verdict: Verdict, text: str) -> None:
        one = patient.instance
        if one.life is None or not one.life.is_same(verdict.life):
            patient.hand = Hand.IDLE
        elif one.ail is not None and one.ail.stubborn:
            patient.hand = Hand.STUCK
            self._clockwork.at(self._clockwork.now + 60.0, self._ended, patient, verdict, text)
        else:
            patient.hand = Hand.IDLE
            one.accounts.restarts["its own end"] -= 1
            one.end(text, verdict.cause)

    # what the instances tell

    def launch(self, instance: Instance) -> None:
        """supervisord has started the program."""
        self.patients[instance.name].launcher.begin()

    def up(self, instance: Instance) -> None:
        """The next look tells."""

    def ended(self, instance: Instance, was_comfyui: bool) -> None:  # noqa: ARG002
        """supervisord tells of it."""
        instance.accounts.restarts["its own end"] += 1
        patient = self.patients[instance.name]
        if patient.hand is Hand.STUCK:
            patient.hand = Hand.IDLE
        self.nudge(instance)

    def stopped(self, instance: Instance) -> None:
        """supervisord tells of it."""
        self.nudge(instance)

    def restarted(self, instance: Instance) -> None:
        """``start`` and ``restart`` lift whatever holds it back."""
        patient = self.patients[instance.name]
        patient.launcher.forgive()
        patient.launcher.start = None
        patient.promises.pardon()
        self.nudge(instance)

    def forgiven(self, instance: Instance) -> None:
        """``reset``."""
        self.patients[instance.name].reset = True

    def alarm(self, instance: Instance) -> None:
        """The watch looks at the heartbeat each second."""
        patient = self.patients[instance.name]
        if patient.state.word in (Word.IDLE, Word.BUSY) and not patient.state.ended:
            self._due(patient, 0.75)

    def finished(self, job: Job, error: str) -> Finished:
        """Return what ComfyUI's history tells of it."""
        return Finished(job.prompt_id, Failure.STICKY if error else Failure.NONE, error)

    # what befalls ourselves

    def killed(self) -> None:
        """The listener is killed, and the next one reads what it has written down."""
        for patient in self.patients.values():
            written = json.loads(json.dumps(codec.changed(patient.state)))
            patient.state = codec.understood(State, written)
            patient.company_until = float("-inf")
            patient.queue.listen()
            patient.queue.unsettled = True
            self._due(patient, 2.0)

    def booted(self, patient: Patient) -> None:
        """The machine has booted: what was known is another boot's."""
        patient.state, patient.hand = State(), Hand.IDLE
        patient.launcher.forget()
        patient.promises.pardon()


def _is_honest(one: Instance) -> bool:
    return one.ail is None or one.ail.honest


def _vitals(one: Instance) -> Vitals:
    one.body.use(one.now, one.body.cores, one.body.pace)
    ail = one.ail
    listens = one.place is Place.UP and (ail is None or ail.name != "refuses")
    status, disk = (ail.status, ail.disk) if ail else ("S", False)
    return Vitals(status, one.body.cpu, int(one.body.io), 0, _GIB, 0.0, disk, listens)


def _gpu(one: Instance) -> GpuSight | None:
    if one.gpu:
        return GpuSight(fault=one.gpu)
    return GpuSight(percent=one.ail.gpu, xids=one.ail.xids) if one.ail and (one.ail.gpu or one.ail.xids) else None


def _worker(one: Instance) -> str:
    return "dead" if one.ail and one.ail.name == "worker_dead" else "alive"


def _progress(one: Instance) -> float:
    """Return when the running job moved last, as the extension tells."""
    job = one.queue.running
    if job is None or (one.ail is not None and not one.ail.works):
        return one.moved
    return one.moved if job.fault and job.fault.shows else one.now


def relieved(patient: Patient, rules: Rules) -> bool:
    """Tell whether nothing of what is remembered of an instance waits for anything."""
    state, now = patient.state, patient.looked
    well = state.word is Word.IDLE and state.cause == "healthy" and state.healthy is not None
    settled = well and now - (state.healthy or now) >= rules.healthy_after and not state.row and not state.alerted
    doubts = state.shaky is not None or state.cuda_errors or state.unexplained is not None or state.ill is not None
    apart = patient.hand is Hand.IDLE and patient.launcher.hold is None and now >= patient.company_until
    return bool(settled and apart and not doubts and not patient.reset)
