"""Faults of supervisord, of the listener, of the files of both, and what operators do meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import psutil

from comfy_supervisor.rpc import Failure
from tests import faults
from tests.faults.patient import sleeper
from tests.faults.test_listener import CLOCK, KILLED, fill
from tests.faults.test_supervisord import NOISE, PRINTS
from tests.faults.trials import reconfigure, stopped, supervisords_log
from tests.support import is_running, wait_until

from .common import borne, is_still_cared_for, small_disk, text_of
from .fault import Expected, Fault
from .ward import Ward

STOPPED = ("process_stopped",)
_STEPS = 6
_GAP = 3.0
"""Seconds: the gap after which nothing that was unseen counts, scaled down."""


def _without_names(ward: Ward) -> None:
    library, source = ward.folder / "no_names.so", Path(faults.__path__[0], "no_names.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    ward.environ["LD_PRELOAD"] = str(library)


def _mad_clock(ward: Ward) -> None:
    before = len(ward.decisions())
    ward.finished(ward.submit(sleeper(3.0, silent=True)))
    borne(ward, 3.0)
    ward.check(len(ward.decisions()) - before < 15, "a storm of decisions")


def _suspended(ward: Ward) -> None:
    """Stop all processes, supervisord first, and let them go on, ComfyUI first."""
    family = [ward.supervisor(), ward.listener().pid, ward.pid()]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(2 * _GAP)
    finally:
        for pid in reversed(family):
            os.kill(pid, signal.SIGCONT)
    borne(ward, 2.0)


def _on_a_small_disk(ward: Ward) -> None:
    ward.state = small_disk(ward)
    ward.conf, ward.run_folder = ward.state / "supervisord.conf", ward.state / "run"


def _full_disk(ward: Ward) -> None:
    ballast = fill(ward.state)
    ward.strike()
    pid = ward.signalled(signal.SIGSTOP)
    ward.wait_for_next_life(pid)
    ward.wait_for(ward.is_answering, what="ComfyUI answers again")
    log = ward.folder / "logs" / "comfyui-health.log"
    ward.wait_for(lambda: "No space left on device" in text_of(log), what="it is said")
    ballast.unlink()
    ward.wait_for_word("IDLE", "BUSY")


def _no_log_folder(ward: Ward) -> None:
    shutil.rmtree(ward.state / "logs")
    pid = ward.signalled(signal.SIGKILL)
    ward.wait_for_next_life(pid)
    ward.check((ward.state / "logs").is_dir(), "it was not made again")
    ward.wait_for(ward.is_answering, what="ComfyUI answers")
    (ward.folder / "file").touch()
    before, settings = ward.conf.read_bytes(), ward.file.read_text()
    ward.file.write_text(settings.replace("[paths]", f'[paths]\nlogs = "{ward.folder}/file/logs"'))
    done = ward.run("apply")
    ward.file.write_text(settings)
    ward.check(done.returncode == 2 and ward.conf.read_bytes() == before, "a folder that can't be made: not refused")


def _corrupt_journal(ward: Ward) -> None:
    file = ward.state / "cpu" / "journal.sqlite"
    file.with_name("journal.sqlite-wal").write_bytes(b"x" * 5000)
    file.write_bytes(os.urandom(20_000))
    ids = ward.submitted(
        sleeper(4.0)
    )  # longer than it takes to set it aside: what has ended by then is forgotten with it
    ward.wait_for(lambda: list(file.parent.glob("journal.sqlite.bad-*")), what="set aside")
    ward.wait_for_states(ids, "done")


def _supervisord_killed(ward: Ward) -> None:
    listener = ward.listener()
    os.kill(ward.supervisor(), signal.SIGKILL)
    began = time.monotonic()
    wait_until(lambda: not is_running(listener.pid), 20)
    took = time.monotonic() - began
    ward.check(took < 3.0, f"the listener took {took:.1f} s to end")
    ward.check(len(_running(ward)) == 1, "not one ComfyUI")
    ward.run("up", "-d")
    ward.wait_for(lambda: _running(ward) == [ward.info().pid], what="one ComfyUI")
    ward.wait_for(lambda: ward.health()["pid"] == ward.info().pid, what="the new process is watched")
    ward.check(len(ward.health()["restarts"]) >= 1, "its death was not counted")


def _running(ward: Ward) -> list[int]:
    return [pid for pid, argv in ward.commands().items() if argv[1:2] and argv[1].endswith("standin/main.py")]


def _will_be_killed(ward: Ward) -> None:
    """Have the listener killed once, at a step of a restart that chance draws."""
    marks, step = ward.folder / "marks", ward.chance.randrange(_STEPS)
    marks.mkdir()
    for line in KILLED.splitlines():
        name = line.partition('dies("')[2].partition('"')[0]
        if name and not name.startswith(str(step)):
            (marks / name).touch()
    ward.inject(f"FOLDER = {str(marks)!r}\n{textwrap.dedent(KILLED)}")


def _listener_killed(ward: Ward) -> None:
    pid = ward.signalled(signal.SIGSTOP)
    ward.wait_for_next_life(pid)
    wait_until(lambda: len(list((ward.folder / "marks").iterdir())) == _STEPS, 60, "it was not killed")
    ward.wait_for_word("IDLE", "BUSY")
    ward.check(not (ward.state / "cpu" / "intent.json").exists(), "its intent is still there")
    ward.check(len(ward.health()["restarts"]) == 1, f"{len(ward.health()['restarts'])} restarts counted")


def _prints(ward: Ward) -> None:
    is_still_cared_for(ward)
    ward.check("and so does its C code" in ward.log("comfyui-health"), "nothing was printed")


def _flood(ward: Ward) -> None:
    reconfigure(ward, "buffer_size=1000", "buffer_size=3", NOISE)
    with stopped(ward.listener().pid):
        ward.strike()
        pid = ward.signalled(signal.SIGKILL)
        after = ward.wait_for_next_life(pid)
        wait_until(lambda: "overflowed, discarding event" in supervisords_log(ward), 30)
    ward.wait_for(lambda: ward.health()["pid"] == after, what="the new process is noticed")


def _supervisord_hangs(ward: Ward) -> None:
    with stopped(ward.supervisor()):
        wait_until(lambda: ward.word() == "BLIND", 30, ward.story())
        wait_until(lambda: "unknown" in ward.alerts(), 30, ward.story())
        time.sleep(1.0)
    ward.wait_for_word("IDLE", "BUSY")


def _twice_told(ward: Ward) -> None:
    """Ask for what is so already, and for a restart in the midst of ours."""
    pid = ward.pid()
    ward.check(not isinstance(ward.rpc.start("comfyui"), Failure), "a start of what runs is an error")
    ward.check(ward.pid() == pid, "it was started a second time")
    ward.order("ignore_sigint")
    ward.order("cuda_poisoned")
    ward.submit(sleeper(0.1))  # which fails, and is done in the next life
    ward.strike()
    ward.wait_for_word("RESTARTING", deadline=20)
    for _ in range(2):
        ward.supervisorctl("start", "comfyui")
    ward.wait_for_next_life(pid)
    ward.wait_for_word("IDLE", "BUSY")
    ward.check(len(_running(ward)) == 1, "not one ComfyUI")


def _operator_stops(ward: Ward) -> None:
    ward.order("hold_answers")
    ward.wait_for_word("SUSPECT")
    ward.rpc.stop("comfyui")  # as supervisorctl does: a command of ours may take longer than it stays SUSPECT
    ward.wait_for_word("STOPPED")
    end = time.monotonic() + 4.0
    while time.monotonic() < end:
        if ward.comfyuis():
            ward.check(False, "it did not stay stopped")
            break
        time.sleep(0.1)
    ward.ok("start")
    ward.wait_for_word("IDLE", "BUSY")


def _killed_in_a_replay(ward: Ward) -> None:
    executed, ids = ward.log().count("Prompt executed"), ward.submitted(*[sleeper(0.05) for _ in range(20)])
    pid = ward.signalled(signal.SIGKILL)
    ward.strike()
    ward.wait_for_next_life(pid)
    ward.wait_for(lambda: "queued again" in ward.log("comfyui-health")[-2000:], what="a replay")
    with suppress(psutil.NoSuchProcess):
        ward.listener().kill()
    ward.wait_for_states(ids, "done")
    done = ward.log().count("Prompt executed") - executed
    ward.check(done <= len(ids) + 4, f"{len(ids)} jobs, {done} times")


def _malicious(ward: Ward) -> None:
    before, settings = ward.conf.read_bytes(), ward.file.read_text()
    evil = ward.chance.choice(("a\\n[program:evil]\\ncommand=/bin/false", "a\\rb", "a\\u0000b"))
    ward.file.write_text(settings + f'\n[comfyui.environment]\nNAME = "{evil}"\n')
    done = ward.run("apply")
    ward.file.write_text(settings)
    ward.check(done.returncode == 2, f"exit code {done.returncode}")
    ward.check(ward.conf.read_bytes() == before, "files were changed")


SURVIVES = Expected("no effect; a SIGSTOP is R as ever", 1, STOPPED)
FAULTS = (
    Fault(16, "DNS broken", SURVIVES, is_still_cared_for, settings={}, prepare=_without_names, quick=False),
    Fault(
        17,
        "the listener's wall clock jumps by a day, again and again",
        Expected("N, no storm"),
        _mad_clock,
        ("idle",),
        settings={"stall": {"after": 6.0}},
        prepare=lambda ward: ward.inject(CLOCK),
        quick=False,
    ),
    Fault(
        18,
        "all stopped for twice the longest gap, as in a suspend",
        Expected("N, figures re-based"),
        _suspended,
        settings={},
        prepare=lambda ward: ward.inject(
            f"from comfy_supervisor.health.policy import memory\nmemory.LONGEST_GAP = {_GAP}"
        ),
        quick=False,
    ),
    Fault(
        19,
        "the state folder's disk is full",
        Expected("R as ever, the trouble is said", 1),
        _full_disk,
        ("idle",),
        settings={"paths": {}},
        prepare=_on_a_small_disk,
        quick=False,
    ),
    Fault(
        20,
        "its log folder is deleted, then SIGKILL",
        Expected("R, made again; not makable: refused", 1),
        _no_log_folder,
        quick=False,
    ),
    Fault(21, "the journal is overwritten with noise", Expected("set aside, N"), _corrupt_journal),
    Fault(
        22, "supervisord killed and started again", Expected("R, state resumes, one ComfyUI", 1), _supervisord_killed
    ),
    Fault(
        23,
        "listener SIGKILLed at a step of its restart",
        Expected("R, finished on its return", 1, None),
        _listener_killed,
        settings={},
        prepare=_will_be_killed,
        quick=False,
    ),
    Fault(
        24,
        "the listener's standard input ends",
        Expected("ends at once, no orphan; R", 1),
        _supervisord_killed,
        quick=False,
    ),
    Fault(
        25,
        "a library of the listener's prints",
        Expected("protocol intact; a SIGSTOP is R", 1, STOPPED),
        _prints,
        settings={},
        prepare=lambda ward: ward.inject(PRINTS),
        quick=False,
    ),
    Fault(26, "events overflow", Expected("R, a lost death is noticed", 1), _flood, settings={}, quick=False),
    Fault(
        27,
        "supervisord's XML-RPC hangs",
        Expected("BLIND, A, N", alerts=("unknown",), words=("BLIND",)),
        _supervisord_hangs,
    ),
    Fault(
        28,
        "started when it runs, and amid our restart",
        Expected("idempotent, R once", 1, ("cuda_poisoned",)),
        _twice_told,
        ("idle",),
    ),
    Fault(
        32,
        "an operator's stop during SUSPECT",
        Expected("stays stopped, until started", 1, words=("SUSPECT", "STOPPED")),
        _operator_stops,
        quick=False,
    ),
    Fault(
        42,
        "SIGKILL, and of the listener amid the replay",
        Expected("R, nothing lost", 1),
        _killed_in_a_replay,
        quick=False,
    ),
    Fault(45, "a malicious settings value", Expected("refused, files unchanged, N"), _malicious),
)
