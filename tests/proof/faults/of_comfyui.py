"""Faults of ComfyUI's process, its API and its jobs."""

from __future__ import annotations

import os
import signal
import time

import requests

from tests.faults.patient import loader, sleeper, traced
from tests.faults.test_api import impostor
from tests.faults.test_incidents import incidents
from tests.nvml import Card, Process
from tests.support import free_port, make_program, wait_until

from .common import borne, node, ordered, with_gpus
from .fault import Expected, Fault
from .ward import Ward

CRASH = node("StandinCrash", how="segfault")
ONE_GPU = {"gpu": {"devices": "all"}}
GPUS_QUICKLY = """
    from comfy_supervisor.gpu import watch
    from comfy_supervisor.health import listener
    listener.GpuWatch = lambda: watch.Watch(watch.Pace(period=1.0, fresh=3.0, first_delay=1.0))
"""


def _stopped(ward: Ward) -> None:
    ward.signalled(signal.SIGSTOP)


def _lock_held(ward: Ward) -> None:
    ward.order("hold_answers", how="gil", seconds=8)
    ward.wait_for_word("SUSPECT", deadline=20)
    ward.wait_for_word("IDLE", "BUSY")


def _lock_held_for_ever(ward: Ward) -> None:
    pid = ward.pid()
    ward.order("hold_answers", how="gil")
    ward.wait_for_next_life(pid, deadline=100)
    stacks = ward.run_folder / "cpu" / "stacks.1.txt"
    ward.wait_for(stacks.exists, what="its threads' stacks are written down")
    ward.check("Thread 0x" in stacks.read_text(), "its threads' stacks were not written down")


def _toils(ward: Ward) -> None:
    pid = ward.pid()
    ward.nvml.cards([Card(utilization=100, processes=(Process(pid, sm=100),))])
    ward.order("stall", deaf=True)
    ids = ward.submitted(sleeper(3))
    ward.strike()
    ward.wait_for_next_life(pid)
    ward.wait_for_states(ids, "done")  # in the next life nothing ails it


def _long_job(ward: Ward) -> None:
    ward.finished(ward.submit(sleeper(12, steps=24)))


def _slow_load(ward: Ward) -> None:
    ward.finished(ward.submit(loader(9, 2)))


def _few_errors(ward: Ward) -> None:
    ward.order("http_500", seconds=1.5)
    ward.wait_for_word("SUSPECT", deadline=15)
    ward.wait_for_word("IDLE", "BUSY")


def _malformed(ward: Ward) -> None:
    ward.order("malformed_json")
    ward.wait_for_alert("unknown", deadline=15)
    borne(ward, 1.0)
    ward.order("recover")


def _huge(ward: Ward) -> None:
    listener = ward.listener()
    before = listener.memory_info().rss
    ward.order("huge_answer")
    ward.wait_for_word("SUSPECT", deadline=15)
    borne(ward, 1.0)
    ward.order("recover")
    ward.wait_for_word("IDLE", "BUSY")
    grown = (listener.memory_info().rss - before) / 1024**2
    ward.check(grown < 16, f"the listener grew by {grown:.0f} MiB")


def _redirected(ward: Ward) -> None:
    elsewhere = free_port()
    with impostor(elsewhere) as asked:
        ward.order("redirect", to=f"http://127.0.0.1:{elsewhere}/prompt")
        ward.wait_for_word("SUSPECT", deadline=15)
        borne(ward, 1.0)
        ward.order("recover")
        ward.wait_for_word("IDLE", "BUSY")
    ward.check(not asked, "the redirect was followed")


def _another_server(ward: Ward) -> None:
    ward.order("close_port")
    with impostor(ward.port):
        ward.wait_for_alert("port_in_use", deadline=15)
        borne(ward, 1.5)
    ward.relieve()


def _dies_anew(ward: Ward) -> None:
    """What it was told at its start, it does a second after each."""
    ward.order("hold_answers")
    ward.wait_for_word("SUSPECT")
    ward.order("reexec")
    ward.wait_for_word("IDLE", "BUSY")
    borne(ward, 1.0)


def _undying(ward: Ward) -> None:
    pid = ward.pid()
    with traced(pid, "outlive"):
        ward.order("cuda_poisoned")
        ward.submit(sleeper(0.1))  # which fails, and is done in the next life
        ward.strike()
        wait_until(lambda: "survives SIGKILL" in str(ward.deeds("alert")), 60, "no alert")
        borne(ward, 1.0)
        copies = sum(str(ward.port) in " ".join(command) for command in ward.commands().values())
        ward.check(copies == 1, f"{copies} processes of the same instance")


def _hanging_capture(ward: Ward) -> None:
    make_program(ward.folder / "bin" / "py-spy", "exec sleep 100")
    ward.environ["PATH"] = f"{ward.folder / 'bin'}:{os.environ['PATH']}"


def _killer(ward: Ward) -> None:
    killer = ward.submit(CRASH)
    ward.wait_for_states([killer], "quarantined")
    ward.check(ward.job(killer).suspect == 2, "it was not charged twice")


def _deleted(ward: Ward) -> None:
    unwanted, running = ward.submitted(sleeper(0.1), sleeper(0.1))
    del running
    requests.post(f"{ward.url}/queue", json={"delete": [unwanted]}, timeout=10)
    ward.wait_for_states([unwanted], "deleted", "done")
    was = ward.state_of(unwanted)
    pid = ward.signalled(signal.SIGKILL)
    ward.strike()
    ward.wait_for_next_life(pid)
    ward.wait_for_word("IDLE")
    ward.check(ward.state_of(unwanted) == was, f"the deleted job is {ward.state_of(unwanted)}")


def _lost_answers(ward: Ward) -> None:
    taken, before = ward.log().count("got prompt"), len(ward.queue())
    listener = ward.listener()
    listener.suspend()
    try:
        ward.signalled(signal.SIGKILL)
        ward.wait_for_api()
        ward.order("lose_answers", count=2)
    finally:
        listener.resume()
    ward.wait_for(lambda: not ward.journal.tally().kept, what="all are done")
    again = ward.log().count("got prompt") - taken
    ward.check(again == before, f"{before} jobs were submitted {again} times")


def _occupied(ward: Ward) -> None:
    ward.signalled(signal.SIGKILL)
    with impostor(ward.port):
        ward.wait_for_word("GAVE_UP", deadline=20)
        ward.wait_for_alert("port_in_use", deadline=15)
        borne(ward, 2.0)
        spent = len(ward.health()["restarts"])
        ward.check(spent == 1, f"it cost {spent} of the budget")
    ward.relieve()


def _burst(ward: Ward) -> None:
    """Crash at each start, until it is given up; then mend it."""
    ward.start_fault("end_after:1")
    ward.signalled(signal.SIGKILL)
    ward.wait_for_word("GAVE_UP", deadline=90)
    spent = len(ward.health()["restarts"])
    ward.check(spent <= 6, f"{spent} deaths in an hour")
    ward.wait_for(lambda: "gave_up" in [each["kind"] for each in incidents(ward)], what="a page on it")
    ward.start_fault("")
    time.sleep(1.0)
    ward.check(ward.word() == "GAVE_UP", "it was not given up for long")
    ward.ok("reset", "comfyui")
    ward.wait_for_word("IDLE")


DEAF = Expected("R, after `health.quiet`", 1, ("api_unresponsive",), words=("SUSPECT",))
FAULTS = (
    Fault(1, "SIGSTOP", Expected("R by SIGKILL", 1, ("process_stopped",)), _stopped),
    Fault(2, "GIL held for long, with CPU", Expected("N", words=("SUSPECT",)), _lock_held, alone=True, quick=False),
    Fault(
        3,
        "GIL held for ever",
        Expected("stacks kept, R when patience ends", 1, ("api_unresponsive",), words=("SUSPECT",)),
        _lock_held_for_ever,
        ("idle",),
        settings={"health": {"patience": 4.0}},
        alone=True,
        quick=False,
    ),
    Fault(
        4,
        "worker thread dies",
        Expected("R, its job charged", 1, ("worker_thread_died",)),
        ordered("worker_dies"),
        ("running",),
    ),
    Fault(
        5,
        "a job deadlocks, deaf to interrupts",
        Expected("R after `stall.after`", 1, ("stalled",)),
        ordered("stall", deaf=True),
        ("running",),
    ),
    Fault(
        6,
        "GPU 100 %, no progress",
        Expected("A, then R at the hard limit", 1, ("stalled",), ("stalled",)),
        _toils,
        ("idle",),
        settings={**ONE_GPU, "stall": {"after": 7.5, "alert_after": 8.0, "hard_limit": 10.0}},
        prepare=with_gpus(1),
        quick=False,
    ),
    Fault(7, "a job of 4 times `stall.after`, with progress", Expected("N"), _long_job, ("idle",), quick=False),
    Fault(8, "a model read at 2 MiB/s, 3 times `stall.after`", Expected("N"), _slow_load, ("idle",), quick=False),
    Fault(9, "slow-loris answers", DEAF, ordered("slow_loris"), ("idle",)),
    Fault(10, "half-open socket: nobody reads", DEAF, ordered("hold_answers", how="sleep"), ("idle",), quick=False),
    Fault(11, "a few HTTP 500s", Expected("SUSPECT, N", words=("SUSPECT",)), _few_errors),
    Fault(11, "HTTP 500s that last", DEAF, ordered("http_500"), ("idle",), quick=False),
    Fault(12, "malformed JSON", Expected("A, N", alerts=("unknown",)), _malformed, ("idle",)),
    Fault(
        13, "a 1 GB answer", Expected("N, flat memory", words=("SUSPECT",)), _huge, ("idle",), alone=True, quick=False
    ),
    Fault(
        14, "a redirect elsewhere", Expected("not followed, N", words=("SUSPECT",)), _redirected, ("idle",), quick=False
    ),
    Fault(
        15,
        "another server on the port",
        Expected("A, N; R once it is gone", 1, ("api_unresponsive",), ("port_in_use",)),
        _another_server,
        ("idle",),
        quick=False,
    ),
    Fault(
        30,
        "a crash 1 s after each start",
        Expected("backoff, then GAVE_UP, A", 6, words=("BACKOFF", "GAVE_UP")),
        _burst,
        ("idle",),
        settings={"comfyui": {}},
        prepare=Ward.make_startable,
        quick=False,
    ),
    Fault(
        33,
        "the pid is reused: it starts anew within its process",
        Expected("old observations dropped, N", words=("SUSPECT", "STARTING")),
        _dies_anew,
        quick=False,
    ),
    Fault(
        34,
        "SIGKILL without effect",
        Expected("A, no second copy; R when it dies", 1, ("cuda_poisoned",)),
        _undying,
        ("idle",),
        quick=False,
    ),
    Fault(
        40,
        "the capture of stacks hangs",
        Expected("R on time", 1, ("api_unresponsive",)),
        ordered("slow_loris"),
        ("idle",),
        settings={},
        prepare=_hanging_capture,
        quick=False,
    ),
    Fault(41, "a job that kills ComfyUI", Expected("quarantined at its 2nd death, R twice", 2), _killer),
    Fault(
        43,
        "no answer to a submission that was taken",
        Expected("R, no duplicate", 1),
        _lost_answers,
        ("running",),
        quick=False,
    ),
    Fault(44, "a job deleted by its user, then SIGKILL", Expected("R, not resurrected", 1), _deleted, ("running",)),
    Fault(
        46,
        "its port is taken when it is killed",
        Expected("A, 1 of the budget; R when it is free", 1, alerts=("port_in_use",), words=("GAVE_UP",)),
        _occupied,
    ),
)
