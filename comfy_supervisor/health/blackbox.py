"""The black box of one instance: what deserves an incident is looked at while it lives, and written down by a thread.

Nobody waits for it but the hand, before it ends a process, and that not for long. Nothing here raises.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ..codec import MalformedError
from ..extension.comfy_supervisor_bridge import heartbeat, stacks
from ..gpu.watch import Watch as GpuWatch
from ..incidents import outside, process
from ..incidents.compose import Case, compose
from ..incidents.incident import Incident, Jobs, Kind, Step
from ..incidents.mask import Mask
from ..incidents.parts import Parts
from ..incidents.store import FOLDER, Store, every
from ..jobs import job as jobs
from ..launch import lastword, records
from . import event
from .intent import Intent
from .ledger import DECISIONS, moments
from .pending import Pending
from .policy.evidence import ENDS, Life, Observation, Reply, State, Verdict
from .watched import Watched

LIVE = 3.0
"""Seconds that the hand waits at most for what can only be seen while the process lives: as long as it may wait for
the extension's stacks, which are written meanwhile."""
QUICK = 1.0
"""The same where the process is stopped by a signal, and can be asked nothing."""
_AFTERWARDS = 6.0
"""Seconds for what can be had afterwards."""
_MOST_WAITING = 4
"""Incidents that wait to be written down; in a storm, those beyond are only counted."""
_NEVER_LEFT_OUT = frozenset({Kind.GAVE_UP, Kind.GPU_FAULT, Kind.CONFIGURATION})
"""What waits for a person, and so comes but rarely."""
_STORM, _STORM_LASTS = 3, 60.0
"""So many within so many seconds are a storm: those that follow are brief."""
_MOST_OPEN = 8
"""Incidents, the newest ones, of which it may still be to be told what became of their jobs."""
_ANSWERS = "it answers again"
_LOG_BYTES = 128 * 1024
_STACK_BYTES = 256 * 1024

_OF_THE_LIVING = ("processes", "descriptors", "stacks")
"""What only a process that lives can tell."""

Fates = Sequence[tuple[jobs.Job, jobs.Job]]
"""Jobs as they were and as they are, once it was decided on them."""


class BlackBox:
    """Makes one instance's incidents."""

    def __init__(self, watched: Watched, gpus: GpuWatch, say: Callable[[str], None]) -> None:
        """Keep what is needed; nothing is looked at yet."""
        self._watched = watched
        self._gpus = gpus
        self._program_say = say
        self._store = Store(Path(watched.state).parent / FOLDER, watched.incidents_keep, watched.incidents_size)
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        """Held while it is decided whether there is a thread."""
        self._doomed: Case | None = None
        """The one whose life our hand is to end."""
        self._times: deque[float] = deque(maxlen=_STORM)
        self._unrecorded = 0
        self._pending = Pending(watched.state)
        self._unanswered = True
        """Whether a life after an incident may still be to give its first answer."""

    def notice(self, before: State, after: State, seen: Observation, verdict: Verdict, now: float) -> None:
        """Take a look at the instance into account; never waits."""
        self._guarded(lambda: self._notice(before, after, seen, verdict, now))

    def look(self, life: Life, reason: str, *, quick: bool = False) -> Callable[[], None]:
        """Begin to look at a life that is about to be ended; what is returned waits for that, not for long."""
        began = time.monotonic()
        if not self._store.keep:
            return lambda: None
        parts = self._guarded(lambda: self._begin(life, reason, quick=quick))
        return lambda: self._guarded(partial(self._take, parts, life, began, QUICK if quick else LIVE)) and None

    def step(self, life: Life, what: str) -> None:
        """Note something that was done to a life."""
        case = self._doomed
        if case is not None and case.is_of(life.boot, life.pid, life.started):
            case.steps.append(Step(what, round(time.monotonic() - case.now, 3)))

    def over(self, life: Life, reason: str) -> None:
        """Have it written down that our hand is done with a life."""
        self._guarded(lambda: self._over(life, reason))

    def settled(self, life: jobs.Life, fates: Fates) -> None:
        """Have it written down what became of a dead life's jobs."""
        self._order(partial(self._settle, life, tuple(fates)))

    def _notice(self, before: State, after: State, seen: Observation, verdict: Verdict, now: float) -> None:
        if self._unanswered and seen.reply is Reply.GOOD and seen.life and not after.ended:
            self._unanswered = False
            if self._store.keep:
                self._order(partial(self._answer, seen.life, now))
        found = event.of(before, after, seen, verdict, self._watched.rules) if self._store.keep else None
        if found is None:
            return
        kind, life = found
        case = self._case(kind, life, verdict.reason, now)
        case.cause, case.running = verdict.cause, before.running
        case.word, case.deed = verdict.word.value, verdict.deed.value
        if verdict.deed in ENDS:
            self._doomed = case
            return
        case.ending = seen.ending.text if seen.ending and life == before.life else ""
        if kind is Kind.CRASH:
            case.reason = (seen.ending and seen.ending.told) or "ended, and it can't be told how"
        self._enqueue(case, seen.life.pid if seen.life else 0)

    def _case(self, kind: Kind, life: Life | None, reason: str, now: float) -> Case:
        """Return what is known at once of an incident."""
        watched, wall = self._watched, time.time() + now - time.monotonic()
        case = Case(kind, "unknown", wall, watched.id, watched.program, reason, now=now)
        case.mark = outside.mark(watched.log)
        if life:
            case.boot, case.pid, case.started = life.boot, life.pid, life.started
            case.heartbeat = _heartbeat(watched.run, life)
        return case

    def _begin(self, life: Life, reason: str, *, quick: bool) -> Parts:
        """Begin to ask what only a process that lives can tell."""
        case = self._doomed_one(life, reason)
        case.stacks_from = _size(self._stacks)
        pid, url = life.pid, self._watched.url
        questions: dict[str, Callable[[], Any]] = {
            "secrets": partial(process.secrets, pid),
            "processes": partial(process.tree, pid),
            "descriptors": partial(process.descriptors, pid),
            "installed": partial(outside.installed, pid),
        }
        if not quick:
            questions |= {
                "queue": partial(outside.queue, url),
                "system": partial(outside.system, url),
                "py-spy": partial(outside.py_spy, pid),
            }
            if self._watched.gpu:
                questions["gpu"] = outside.gpus
        return Parts(questions)

    def _take(self, parts: Parts | None, life: Life, began: float, patience: float) -> None:
        """Wait for what was asked, and keep it with the extension's stacks."""
        case = self._doomed
        if parts is None or case is None:
            return
        case.found.take(parts.gather(patience))
        if _size(self._stacks) > case.stacks_from:
            case.stacks = outside.plain_file(str(self._stacks), case.stacks_from, _STACK_BYTES)
        else:
            case.found.missing["stacks"] = "the extension wrote none"
        self.step(life, f"it was looked at, for {time.monotonic() - began:.1f} s")

    def _over(self, life: Life, reason: str) -> None:
        if not self._store.keep:
            return
        case = self._doomed_one(life, reason)
        self.step(life, "our hand was done with it")
        self._doomed = None
        self._enqueue(case, 0)

    def _doomed_one(self, life: Life, reason: str) -> Case:
        """Return the case of a life that our hand ends; one that an earlier listener began is new to us."""
        case = self._doomed
        if case is None or not case.is_of(life.boot, life.pid, life.started):
            case = self._doomed = self._case(Kind.RESTART, life, reason, time.monotonic())
        return case

    def take_over(self, begun: Intent) -> None:
        """Hear of the end of a life that an earlier listener has begun."""
        self._guarded(lambda: self._take_over(begun))

    def _take_over(self, begun: Intent) -> None:
        case = self._doomed = self._case(event.of_hold(begun.hold), begun.life, begun.reason, begun.at)
        case.cause, case.word, case.deed = begun.cause, begun.word, begun.deed
        case.found.missing |= dict.fromkeys(_OF_THE_LIVING, "the listener was killed before it was done with it")

    def resume(self) -> None:
        """Have those written down that an earlier listener did not come to."""
        self._guarded(self._resume)

    def _resume(self) -> None:
        for case in self._pending.left(self._watched.id, self._watched.program) if self._store.keep else ():
            case.found.missing |= dict.fromkeys(_OF_THE_LIVING, "the listener was killed before it was written down")
            self._write_down(case, 0)

    @property
    def _stacks(self) -> Path:
        return Path(self._watched.run, stacks.FILE)

    def _enqueue(self, case: Case, successor: int) -> None:
        """Have a case written down, unless too many wait for that already."""
        if self._orders.qsize() >= _MOST_WAITING and case.kind not in _NEVER_LEFT_OUT:
            self._unrecorded += 1
            return
        case.brief = len(self._times) == _STORM and case.now - self._times[0] < _STORM_LASTS
        case.unrecorded, self._unrecorded = self._unrecorded, 0
        self._times.append(case.now)
        self._write_down(case, successor)

    def _write_down(self, case: Case, successor: int) -> None:
        """Have a case written down, by us or, if we are killed meanwhile, by the next listener."""
        self._pending.add(case)
        self._unanswered = True
        self._order(partial(self._finish, case, successor))

    def _finish(self, case: Case, successor: int) -> None:
        try:
            if not self._is_written(case):
                self._write(case, successor)
        finally:
            self._pending.remove(case)

    def _is_written(self, case: Case) -> bool:
        """Tell whether there is an incident of it already, by a listener that was killed right after that."""
        return any(
            (one.kind, one.boot, one.pid, one.started) == (case.kind, case.boot, case.pid, case.started)
            and (bool(case.pid) or abs(one.at - case.at) < 1)
            for one in self._newest()
        )

    def _newest(self) -> Iterator[Incident]:
        """Yield the instance's last incidents, whoever has written them, the newest first."""
        return islice(every(self._store.folder, self._watched.id), _MOST_OPEN)

    def _write(self, case: Case, successor: int) -> None:
        """Find what can be had afterwards, and write it all down."""
        began = time.monotonic()
        self._read_log(case)
        case.timeline = moments(Path(self._watched.state, DECISIONS), case.at)
        case.found.take(self._afterwards(case, successor).gather(_AFTERWARDS))
        secrets = case.found.values.pop("secrets", ()) or ()
        case.found.missing.pop("secrets", None)
        mask = Mask(secrets)
        incident, texts = compose(case, mask)
        took = round(time.monotonic() - began, 3)
        written = self._store.add(replace(incident, seconds=took), texts, mask)
        self._say(f"all about it: comfy-supervisor incidents show {written.id}")

    def _read_log(self, case: Case) -> None:
        log, is_restart = self._watched.log, case.kind is Kind.RESTART
        try:
            before = outside.log_until(log, case.mark if is_restart else None, _LOG_BYTES)
            after = outside.log_since(log, case.mark, _LOG_BYTES // 2)
        except OSError as error:
            case.found.missing["log"] = error.strerror or str(error)
            return
        case.log_before = before if is_restart else lastword.without_next(before)
        case.log_after = after if is_restart else before[len(case.log_before) :]

    def _afterwards(self, case: Case, successor: int) -> Parts:
        """Begin to ask what can be had after a process's end."""
        questions: dict[str, Callable[[], Any]] = {"machine": partial(process.machine, self._watched.state)}
        if case.boot and "journal" not in case.found.values:
            of = jobs.Process(case.boot, case.pid, case.started)
            questions["journal"] = partial(outside.journal, self._watched.state, of)
        if successor and not case.brief:
            questions["installed"] = partial(outside.installed, successor)
            questions["secrets"] = partial(process.secrets, successor)
        if self._watched.gpu:
            questions["gpu-processes"] = lambda: [asdict(each) for each in self._gpus.devices]
            if not case.brief and "gpu" not in case.found.values:
                questions["gpu"] = outside.gpus
        return Parts(questions)

    def _answer(self, life: Life, now: float) -> None:
        """Write down when ComfyUI worked again, in those that came since it last did."""
        wall = time.time() + now - time.monotonic()
        for one in self._newest():
            if any(step.what == _ANSWERS for step in one.steps):
                break
            if one.boot in ("", life.boot) and (one.pid, one.started) != (life.pid, life.started):
                self._store.amend(one.id, partial(_with_step, Step(_ANSWERS, round(max(0.0, wall - one.at), 3))))

    def _settle(self, life: jobs.Life, fates: Fates) -> None:
        for one in self._newest():
            if life.is_of(jobs.Process(one.boot, one.pid, one.started)):
                self._store.amend(one.id, partial(_with_fates, fates))

    def _order(self, deed: Callable[[], None]) -> None:
        """Have our thread do something; there is one only as long as there is something to do."""
        self._orders.put(deed)
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"blackbox-{self._watched.id}", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while deed := self._next():
            self._guarded(deed)

    def _next(self) -> Callable[[], None] | None:
        """Return what is to be done next; None: nothing, and our thread is to end."""
        with self._lock:
            try:
                return self._orders.get_nowait()
            except queue.Empty:
                self._thread = None
                return None

    def _guarded(self, deed: Callable[[], Any]) -> Any:
        """Do something; whatever goes wrong is said, and costs an incident at most."""
        try:
            return deed()
        except (OSError, MalformedError) as error:
            self._say(f"an incident can't be written: {error}; supervision goes on")
        except Exception:  # noqa: BLE001  # a bug of ours must neither delay a restart nor end the thread
            self._say(f"our own error, an incident is lost: {traceback.format_exc()}")
        return None

    def _say(self, text: str) -> None:
        self._program_say(f"{self._watched.program}: {text}")


def _with_step(step: Step, incident: Incident) -> Incident:
    return replace(incident, steps=(*incident.steps, step))


def _with_fates(fates: Fates, incident: Incident) -> Incident:
    return replace(incident, jobs=_decided(incident.jobs, fates))


def _decided(before: Jobs, fates: Fates) -> Jobs:
    """Return an incident's jobs as it was decided on them."""

    def ids(chosen: Callable[[jobs.Job, jobs.Job], bool]) -> tuple[str, ...]:
        return tuple(after.prompt_id for was, after in fates if chosen(was, after))

    queued = jobs.State.QUEUED
    return replace(
        before,
        settled=True,
        running=before.running or next((was.prompt_id for was, _ in fates if was.state is jobs.State.RUNNING), ""),
        rescued=ids(lambda _, after: after.state is queued and after.waits is jobs.Waits.NOT),
        charged=ids(lambda was, after: after.suspect + after.victim > was.suspect + was.victim),
        quarantined=ids(lambda _, after: after.state is jobs.State.QUARANTINED),
        kept=ids(lambda _, after: after.state is queued and after.waits is not jobs.Waits.NOT),
    )


def _heartbeat(run: str, life: Life) -> dict[str, Any]:
    """Return the last that the extension told of a life; nothing, if that was another's."""
    try:
        found = records.read(f"{run}/{heartbeat.FILE}") or {}
    except records.MalformedError:
        return {}
    return found if (found.get("boot"), found.get("pid")) == (life.boot, life.pid) else {}


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:
        return 0
