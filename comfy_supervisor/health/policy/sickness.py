"""The lower half of the decision table: what ComfyUI's own behaviour says, the surest signs first."""

from __future__ import annotations

from .case import Case
from .evidence import RECYCLED, Deed, Patience, Reply, Word
from .row import Row


def _working(case: Case) -> Word:
    return Word.BUSY if case.state.queue else Word.IDLE


def _gib(case: Case) -> float:
    return case.seen.vitals.memory / 1024**3 if case.seen.vitals else 0.0


def _jobs(case: Case) -> str:
    return f"{case.state.queue} {'job' if case.state.queue == 1 else 'jobs'}"


def _still(case: Case) -> str:
    place = case.seen.running.place if case.seen.running else ""
    at = f" (at {place})" if place else ""
    return f"the running job {case.state.running}{at} has made no step for {case.still:.0f} s"


def _end_job(case: Case) -> Deed:
    if not (case.watched_closely and case.seen.queue_seen):
        return Deed.NOTHING
    return Deed.INTERRUPT if case.can_interrupt else Deed.RESTART


def _ended_job(case: Case) -> Word:
    if not (case.watched_closely and case.seen.queue_seen):
        return Word.SUSPECT  # the next look tells how patient its nodes are to be met, or what runs
    return Word.STALLED if case.can_interrupt else Word.RESTARTING


PROOF = (
    Row(
        "frozen",
        when=lambda c: c.state.frozen is not None and c.fails,
        word=Word.RESTARTING,
        cause="process_stopped",
        reason=lambda c: (
            f"a signal stopped the process (SIGSTOP or the like) {c.frozen:.0f} s ago, "
            f"and its last answer was {c.unanswered:.0f} s ago"
        ),
        deed=Deed.KILL,
        # Seen for half as long is enough: that is two looks, the slower for the answers that they wait for.
        clock=lambda c: min(2 * c.frozen, c.unanswered),
        after=lambda c: c.rules.frozen,
    ),
    Row(
        "worker-dead",
        when=lambda c: c.seen.worker == "dead",
        word=Word.RESTARTING,
        cause="worker_thread_died",
        reason=lambda c: (
            f"ComfyUI's worker thread has died: its API answers, and no job of {c.state.queue} will ever run"
        ),
        deed=Deed.RESTART,
    ),
    Row(
        "poisoned",
        when=lambda c: c.looked_at and bool(c.state.poisoned),
        word=Word.RESTARTING,
        cause="cuda_poisoned",
        reason=lambda c: f"{c.state.poisoned}; after that every use of the GPU fails until ComfyUI starts anew",
        deed=Deed.RESTART,
    ),
    Row(
        "cuda-errors",
        when=lambda c: c.looked_at and c.state.cuda_errors >= c.rules.cuda_errors,
        word=Word.RESTARTING,
        cause="cuda_poisoned",
        reason=lambda c: f"the last {c.state.cuda_errors} jobs ended with CUDA errors",
        deed=Deed.RESTART,
    ),
    Row(
        "driver-error",
        when=lambda c: c.looked_at and bool(c.soft_xids) and c.sick,
        word=Word.RESTARTING,
        cause="cuda_poisoned",
        reason=lambda c: (
            f"the driver reported Xid {', '.join(map(str, c.soft_xids))}, {c.state.cuda_errors} jobs in a row ended "
            f"with CUDA errors, and {c.figures}"
        ),
        deed=Deed.RESTART,
    ),
    Row(
        "on-the-cpu",
        when=lambda c: c.answers and c.seen.device == "cpu" and c.rules.gpu_meant and c.rules.gpu_require,
        word=Word.GAVE_UP,
        cause="cpu_fallback",
        reason="ComfyUI computes on the CPU, though a GPU was meant; gpu.require = false would leave it so",
        deed=Deed.RESTART,
        hold="configuration",
    ),
    Row(
        "hold-is-over",
        when=lambda c: c.may_lift,
        word=_working,
        reason=lambda c: f"it works, so the hold ({c.seen.hold}) for its next start is lifted",
        deed=Deed.LIFT,
    ),
    Row(
        "slowly-on-the-cpu",
        when=lambda c: c.seen.device == "cpu" and c.rules.gpu_meant and c.answers and not c.said("slowly-on-the-cpu"),
        word=_working,
        cause="cpu_fallback",
        reason="ComfyUI computes on the CPU, though a GPU was meant",
        deed=Deed.ALERT,
    ),
)

API = (
    Row(
        "deaf-for-too-long",
        when=lambda c: c.fails and c.failing >= c.rules.patience,
        word=Word.RESTARTING,
        cause="api_unresponsive",
        reason=lambda c: f"its API has not answered for {c.failing:.0f} s ({c.answer}), though {c.figures}",
        deed=Deed.RESTART,
        shared=True,
    ),
    Row(
        "nobody-listens",
        when=lambda c: c.seen.reply is Reply.REFUSED and c.seen.vitals is not None and c.seen.vitals.listens is False,
        word=Word.RESTARTING,
        cause="api_unresponsive",
        reason=lambda c: f"nobody has listened on its port for {c.failing:.0f} s, and {c.figures}",
        deed=Deed.RESTART,
        clock=lambda c: min(c.failing, c.all_quiet),
        after=lambda c: c.rules.quiet,
    ),
    Row(
        "refused",
        when=lambda c: c.seen.reply is Reply.REFUSED,
        word=Word.RESTARTING,
        cause="api_unresponsive",
        reason=lambda c: f"it has refused connections for {c.failing:.0f} s, and {c.figures}",
        deed=Deed.RESTART,
        clock=lambda c: min(c.failing, c.all_quiet),
        after=lambda c: c.rules.quiet,
        shared=True,
    ),
    Row(
        "deaf",
        when=lambda c: c.fails,
        word=Word.RESTARTING,
        cause="api_unresponsive",
        reason=lambda c: f"its API has not answered for {c.failing:.0f} s ({c.answer}), and {c.figures}",
        deed=Deed.RESTART,
        clock=lambda c: min(c.failing, c.quiet),
        after=lambda c: c.rules.quiet,
        shared=True,
    ),
    Row(
        "strange",
        when=lambda c: c.seen.reply is Reply.STRANGE,
        word=Word.SUSPECT,
        cause="unknown",
        reason=lambda c: (
            f"its API answers, but not as ComfyUI does: {c.answer}; the last good answer {c.unanswered:.0f} s ago"
        ),
        deed=Deed.ALERT,
        clock=lambda c: c.unanswered,
        after=lambda c: c.rules.paused,
    ),
    Row(
        "unasked",
        when=lambda c: c.seen.reply is Reply.UNASKED,
        word=Word.BLIND,
        cause="unknown",
        reason=lambda c: f"its API could not be asked: {c.answer}",
        deed=Deed.ALERT,
        clock=lambda c: c.word_for if c.state.word is Word.BLIND else 0.0,
        after=lambda c: c.rules.quiet,
        early=Word.BLIND,
    ),
)

WORK = (
    Row(
        "waits-for-a-person",
        when=lambda c: c.works_on and c.patience is Patience.ENDLESS,
        word=Word.BUSY,
        cause=lambda c: "healthy" if c.stalled < c.long_still else "stalled",
        reason=lambda c: f"{_still(c)}; one of its nodes waits for a person, so it is left alone",
        deed=Deed.ALERT,
        clock=lambda c: c.stalled,
        after=lambda c: c.long_still,
        early=Word.BUSY,
    ),
    Row(
        "would-not-give-up",
        when=lambda c: c.hopeless and c.state.interrupted is not None,
        word=lambda c: Word.RESTARTING if c.seen.queue_seen else Word.STALLED,
        cause="stalled",
        reason=lambda c: f"{_still(c)}, {c.figures}; it was asked to give up {c.interrupted:.0f} s ago",
        deed=lambda c: Deed.RESTART if c.seen.queue_seen else Deed.NOTHING,
        clock=lambda c: c.interrupted,
        after=lambda c: c.rules.interrupt_wait,
        early=Word.STALLED,
        shared=True,
    ),
    Row(
        "toils-for-too-long",
        when=lambda c: c.works_on and c.toiled_out,
        word=_ended_job,
        cause="stalled",
        reason=lambda c: f"{_still(c)}, though {c.figures}",
        deed=_end_job,
        shared=True,
    ),
    Row(
        "stalled",
        when=lambda c: c.suspicious,
        word=_ended_job,
        cause="stalled",
        reason=lambda c: f"{_still(c)}, {c.figures}",
        deed=_end_job,
        clock=lambda c: c.stalled,
        after=lambda c: c.stall_after,
        shared=True,
    ),
    Row(
        "toils",
        when=lambda c: c.works_on and c.still >= c.long_still,
        word=Word.BUSY,
        cause="stalled",
        reason=lambda c: f"{_still(c)}, though {c.figures}; stall.hard_limit would end it",
        deed=Deed.ALERT,
    ),
    Row(
        "held-by-an-operator",
        when=lambda c: c.seen.held == "paused" and not c.state.running,
        word=Word.IDLE,
        reason=lambda c: f"paused, with {_jobs(c)} waiting: comfy-supervisor resume lets them begin",
    ),
    Row(
        "paused",
        when=lambda c: c.state.paused is not None,
        word=Word.IDLE,
        cause=lambda c: "healthy" if c.paused < c.rules.paused else "unknown",
        reason=lambda c: (
            f"{_jobs(c)} waiting, and none has begun for {c.paused:.0f} s"
            + (": paused by somebody?" if c.paused >= c.rules.paused else "")
        ),
        deed=Deed.ALERT,
        clock=lambda c: c.paused,
        after=lambda c: c.rules.paused,
        early=Word.IDLE,
    ),
    Row(
        "queue-unseen",
        when=lambda c: c.state.queue > 0 and not c.seen.queue_seen and min(c.still, c.quiet) >= c.stall_after,
        word=Word.SUSPECT,
        cause="unknown",
        reason=lambda c: f"{_jobs(c)}, and it can't be told which one runs; for {c.still:.0f} s none has ended",
        deed=Deed.ALERT,
        clock=lambda c: min(c.still, c.quiet),
        after=lambda c: c.rules.paused,
    ),
    Row(
        "shaky",
        when=lambda c: c.state.shaky is not None,
        word=Word.SUSPECT,
        cause="api_unresponsive",
        reason=lambda c: f"its API answers again, but has failed now and then for {c.shaky:.0f} s",
        deed=Deed.ALERT,
        clock=lambda c: c.shaky,
        after=lambda c: c.rules.paused,
        shared=True,
    ),
    Row(
        "too-large",
        when=lambda c: (
            c.idle >= c.rules.idle_before_recycle
            and c.seen.vitals is not None
            and 0 < c.rules.memory_limit < c.seen.vitals.memory
            and c.age >= c.rules.healthy_after
        ),
        word=Word.RESTARTING,
        cause=RECYCLED,
        reason=lambda c: f"idle for {c.idle:.0f} s, and larger than health.memory_limit: {_gib(c):.1f} GiB of memory",
        deed=Deed.RESTART,
        early=Word.IDLE,
        planned=True,
    ),
    Row(
        "too-old",
        when=lambda c: c.idle >= c.rules.idle_before_recycle and 0 < c.rules.recycle_after <= c.age,
        word=Word.RESTARTING,
        cause=RECYCLED,
        reason=lambda c: f"idle for {c.idle:.0f} s, and older than health.recycle_after: {c.age / 3600:.1f} h",
        deed=Deed.RESTART,
        early=Word.IDLE,
        planned=True,
    ),
    Row(
        "busy",
        when=lambda c: c.state.queue > 0,
        word=Word.BUSY,
        reason=lambda c: f"{_jobs(c)}; the last step {c.still:.0f} s ago",
    ),
    Row("idle", when=lambda _: True, word=Word.IDLE, reason="works, and has no job"),
)
