"""Twenty faults that nobody asked for: what an enemy would do, or a custom node, a neighbour, an operator in haste."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psutil
import requests

from comfy_supervisor.launch import starts
from tests.comfyui_server import STANDIN_FOLDER
from tests.faults.patient import sleeper
from tests.faults.trials import stopped
from tests.support import is_free, wait_until

from .common import SOON, borne, enemy, is_still_cared_for, json_of, kept_replacing, small_disk
from .fault import Expected, Fault
from .of_us import STOPPED
from .ward import Ward

_MANY = 1000
"""Jobs; what a job costs the disk is the same for ten times as many."""


def _by_a_link(ward: Ward) -> None:
    (ward.folder / "comfy").mkdir()
    (ward.folder / "comfy" / "standin").symlink_to(STANDIN_FOLDER)
    ward.comfyui = {"directory": str(ward.folder / "comfy" / "standin"), "python": str(ward.python)}
    packages = next(ward.python.parent.parent.glob("lib/*/site-packages"))
    (packages / "torch").mkdir()  # by another path, the stand-in is a ComfyUI like any other, and needs one
    (packages / "torch" / "__init__.py").write_text('__version__ = "2.9.0"\n')


def _leads_elsewhere(ward: Ward) -> None:
    link, other = ward.folder / "comfy" / "standin", ward.folder / "other" / "standin"
    shutil.copytree(STANDIN_FOLDER, other)
    link.unlink()
    pid = ward.signalled(signal.SIGKILL)
    ward.strike()
    ward.wait_for_next_life(pid)
    time.sleep(3.0)
    link.symlink_to(other)
    ward.relieve()
    if not _comes_up(ward, SOON):
        ward.complaints.append("it did not start by itself when the folder was back")
        ward.ok("start")
    ward.wait_for_word("IDLE", "BUSY")


def _comes_up(ward: Ward, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ward.is_answering():
            return True
        time.sleep(0.1)
    return False


def _log_deleted(ward: Ward) -> None:
    (ward.state / "logs" / "comfyui.log").unlink(missing_ok=True)  # in this ward, perhaps not for the first time
    (ward.state / "logs" / "comfyui-health.log").unlink(missing_ok=True)
    ward.finished(ward.submit(sleeper(1.0)))
    borne(ward, 2.0)
    is_still_cared_for(ward)


def _leaves_children(ward: Ward) -> None:
    ward.finished(ward.submit(enemy(200)))
    left = [child.pid for child in psutil.Process(ward.pid()).children(recursive=True)]
    ward.check(len(left) >= 10, f"only {len(left)} children")
    pid = ward.signalled(signal.SIGKILL)
    ward.strike()
    ward.wait_for_next_life(pid)
    ward.wait_for(ward.is_answering, what="it answers")
    alive = [each for each in left if psutil.pid_exists(each) and psutil.Process(each).status() != "zombie"]
    ward.check(not alive, f"{len(alive)} of {len(left)} children of the life before are still there")


def _moves_house(ward: Ward) -> None:
    entry = ward.finished(ward.submit(enemy(201)))
    ward.check(entry["status"]["status_str"] == "success", "the enemy failed")
    borne(ward, 2.0)


def _closes_all(ward: Ward) -> None:
    killer = ward.submit(enemy(202))
    ward.wait_for_states([killer], "quarantined")


def _ends_the_worker(ward: Ward) -> None:
    killer = ward.submit(enemy(203))
    ward.wait_for_states([killer], "quarantined")


def _ends_well(ward: Ward) -> None:
    killer = ward.submit(enemy(0))
    ward.wait_for_states([killer], "quarantined")


def _unseen_death(ward: Ward) -> None:
    with stopped(ward.listener().pid):
        pid = ward.signalled(signal.SIGKILL)
        after = ward.wait_for_next_life(pid)
        time.sleep(3.0)
    ward.wait_for(lambda: ward.health()["pid"] == after, what="the new process is noticed")
    ward.check(len(ward.health()["restarts"]) >= 1, "its death was not counted")


def _no_memory_left(ward: Ward) -> None:
    listener = ward.listener()
    most = listener.memory_info().vms + 1024 * 1024
    resource.prlimit(listener.pid, resource.RLIMIT_AS, (most, most))
    borne(ward, 3.0)
    ward.strike()
    is_still_cared_for(ward)


def _false_heartbeat(ward: Ward) -> None:
    file = ward.run_folder / "cpu" / "heartbeat.json"
    make = ward.chance.choice([_folder_at, _pipe_at, _giant_at, _future_at])
    with kept_replacing(lambda: make(file)):
        borne(ward, 4.0)
        ward.strike()
        is_still_cared_for(ward)
    _cleared(file)


def _cleared(file: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(file) if file.is_dir() else file.unlink()


def _folder_at(file: Path) -> None:
    if not file.is_dir():
        _cleared(file)
        with suppress(OSError):
            file.mkdir()


def _pipe_at(file: Path) -> None:
    if not file.is_fifo():
        _cleared(file)
        with suppress(OSError):
            os.mkfifo(file)


def _giant_at(file: Path) -> None:
    with suppress(OSError), file.open("r+b") as stream:
        stream.truncate(2**30)


def _future_at(file: Path) -> None:
    with suppress(OSError, ValueError):
        beat = json_of(file)
        for name in ("at", "progress_at"):
            beat[name] = 1e12
        _whole(file, beat)


def _whole(file: Path, value: Any) -> None:
    aside = file.with_suffix(".enemy")
    aside.write_text(json.dumps(value))
    aside.replace(file)


def _hold_of_noise(ward: Ward) -> None:
    noise = ward.chance.choice(
        [b"", b"\0" * 100, b"{", b"[1]", b'{"v": 1, "reason": 7, "until": "never"}', os.urandom(70_000)]
    )
    (ward.run_folder / "cpu" / "hold.json").write_bytes(noise)
    ward.strike()
    ward.signalled(signal.SIGKILL)


def _files_are_folders(ward: Ward) -> None:
    folder = ward.state / "cpu"
    for name in ("decisions.jsonl", "status.json"):
        (folder / name).rename(folder / f"{name}.aside")
        (folder / name).mkdir()
    try:
        pid = ward.signalled(signal.SIGSTOP)
        ward.strike()
        ward.wait_for_next_life(pid)
        ward.wait_for(ward.is_answering, what="it answers again")
        ward.wait_for(lambda: "can't be written" in ward.log("comfyui-health"), what="that is said")
    finally:
        for name in ("decisions.jsonl", "status.json"):
            (folder / name).rmdir()
            (folder / f"{name}.aside").rename(folder / name)


def _many_jobs(ward: Ward) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(ward.submit, [sleeper(0.0, steps=1)] * _MANY))
    pid = ward.signalled(signal.SIGKILL)
    ward.strike()
    ward.wait_for_next_life(pid)
    ward.wait_for(lambda: not ward.journal.tally().kept, 120, "all are done")
    done = sum(ward.state_of(each) == "done" for each in ids)
    ward.check(done == _MANY, f"{done} of {_MANY} jobs done")


def _large_job(ward: Ward) -> None:
    text = "x" * 5_000_000
    job = {**sleeper(0.1), "2": {"class_type": "StandinSleep", "inputs": {"seconds": 0.0, "note": text}}}
    ids = ward.submitted(job)
    pid = ward.signalled(signal.SIGKILL)
    ward.strike()
    ward.wait_for_next_life(pid)
    ward.wait_for_states(ids, "done")


def _client_floods(ward: Ward) -> None:
    ends = time.monotonic() + 6.0

    def ask(_place: int) -> None:
        with requests.Session() as session:
            while time.monotonic() < ends:
                with suppress(requests.RequestException):
                    session.get(f"{ward.url}/prompt", timeout=5.0)

    thread = threading.Thread(target=borne, args=(ward, 6.0))
    thread.start()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(ask, range(20)))
    thread.join()


class _Stranger(BaseHTTPRequestHandler):
    """Answers as an idle ComfyUI does, and would take jobs."""

    taken: ClassVar[list[str]]

    def do_GET(self) -> None:
        queue: dict[str, object] = {"queue_running": [], "queue_pending": []}
        told = {"/prompt": {"exec_info": {"queue_remaining": 0}}, "/queue": queue}
        self._answer(told.get(self.path.split("?")[0], {}))

    def do_POST(self) -> None:
        self.taken.append(self.path)
        self._answer({"prompt_id": "1", "number": 1, "node_errors": {}})

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet."""


@contextmanager
def _strangers_comfyui(port: int) -> Iterator[list[str]]:
    """Take a port as soon as it is free; give the paths that something was sent to."""
    wait_until(lambda: is_free(port), what="the port")
    taken: list[str] = []
    _Stranger.taken = taken
    with ThreadingHTTPServer(("127.0.0.1", port), _Stranger) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield taken
        server.shutdown()


def _stranger(ward: Ward) -> None:
    """Another ComfyUI takes the port at the very moment, and answers as ours would."""
    ward.signalled(signal.SIGSTOP)
    with _strangers_comfyui(ward.port) as taken:
        ward.wait_for_alert("port_in_use", deadline=20)
        borne(ward, 2.0)
    ward.check(not taken, f"a stranger was sent {taken}")
    ward.relieve()


def _clock_was_ahead(ward: Ward) -> None:
    """What the last start has written is of a time to come, and so is a hold that somebody has forgotten."""
    record = starts.path(str(ward.state / "cpu"))
    at = starts.uptime() + 86400
    value = {"v": 1, "boot_id": starts.boot_id(), "pid": ward.pid(), "at": at, "failures": 1000, "lives": 1}
    _whole(Path(record), value)
    now = time.time() + 86400
    hold = {"v": 1, "reason": "backoff", "text": "of another time", "since": now, "until": now + 2, "by": ""}
    _whole(ward.run_folder / "cpu" / "hold.json", hold)
    ward.strike()
    ward.signalled(signal.SIGKILL)


def _outsiders_sigterm(ward: Ward) -> None:
    ward.signalled(signal.SIGTERM)


def _two_stalls(ward: Ward) -> None:
    for _ in range(2):
        pid = ward.pid()
        ward.order("stall", deaf=True)
        if not ward.queue():
            ward.submit(sleeper(1.0))
        ward.wait_for_next_life(pid)
        ward.wait_for(ward.is_answering, what="it answers")


def _on_a_small_run_disk(ward: Ward) -> None:
    ward.run_folder = small_disk(ward)


def _full_run_disk(ward: Ward) -> None:
    with (ward.run_folder / "fill").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1000))
    borne(ward, 4.0)
    ward.strike()
    is_still_cared_for(ward)
    (ward.run_folder / "fill").unlink()


AS_EVER = Expected("N; a SIGSTOP is R as ever", 1, STOPPED)
FAULTS = (
    Fault(
        47,
        "ComfyUI's folder is a link, gone for 3 s at a SIGKILL, then to a copy",
        Expected("R by itself when it is back", 1),
        _leads_elsewhere,
        settings={},
        prepare=_by_a_link,
        quick=False,
    ),
    Fault(48, "both logs are deleted under it", AS_EVER, _log_deleted, quick=False),
    Fault(
        49,
        "a node leaves 15 processes behind, deaf to SIGTERM; SIGKILL",
        Expected("R, all of them ended first", 1),
        _leaves_children,
    ),
    Fault(
        50,
        "a node changes folder and umask, and closes standard input",
        Expected("N, honest jobs are done"),
        _moves_house,
        quick=False,
    ),
    Fault(
        51,
        "a node closes all file descriptors",
        Expected("R twice, by whoever sees it first; then quarantined", 2, None),
        _closes_all,
        quick=False,
    ),
    Fault(
        52,
        "a node raises SystemExit in the worker",
        Expected("R twice, then quarantined", 2, ("worker_thread_died",) * 2),
        _ends_the_worker,
        quick=False,
    ),
    Fault(
        53,
        "a node calls os._exit(0)",
        Expected("R 3 times, as a restart of ComfyUI-Manager's ends so; then quarantined", 3),
        _ends_well,
        quick=False,
    ),
    Fault(
        54, "the listener is stopped while ComfyUI dies", Expected("R by supervisord, counted later", 1), _unseen_death
    ),
    Fault(
        55,
        "the listener can get no more memory",
        Expected("a SIGSTOP is R, by the listener in its place", 1, None, troubled=True),
        _no_memory_left,
        settings={},
        quick=False,
    ),
    Fault(56, "the heartbeat is a folder, a pipe, 1 GiB, or of the future", AS_EVER, _false_heartbeat),
    Fault(57, "`hold.json` is noise, then SIGKILL", Expected("R: it holds nothing back", 1), _hold_of_noise),
    Fault(
        58,
        "`decisions.jsonl` and `status.json` are folders, then SIGSTOP",
        Expected("R as ever, that is said", 1),
        _files_are_folders,
        ("idle",),
        quick=False,
    ),
    Fault(
        59, f"{_MANY:,} jobs wait, then SIGKILL", Expected("R, all are done", 1), _many_jobs, settings={}, quick=False
    ),
    Fault(60, "a job with a graph of 5 MB, then SIGKILL", Expected("R, it is done", 1), _large_job),
    Fault(61, "20 clients flood `GET /prompt`", Expected("N"), _client_floods, alone=True, quick=False),
    Fault(
        62,
        "SIGSTOP; another ComfyUI takes the port as it is freed",
        Expected("R, A, held; no job goes to the stranger", 1, STOPPED, ("port_in_use",)),
        _stranger,
        quick=False,
    ),
    Fault(
        63,
        "clock set back: starts and a hold of tomorrow, then SIGKILL",
        Expected("R, held no longer than 2 s", 1),
        _clock_was_ahead,
    ),
    Fault(64, "SIGTERM by an outsider", Expected("R by supervisord", 1), _outsiders_sigterm),
    Fault(65, "two stalls within a minute", Expected("R, R", 2, ("stalled",) * 2), _two_stalls, quick=False),
    Fault(
        66,
        "the run folder's disk is full",
        AS_EVER,
        _full_run_disk,
        settings={"paths": {}},
        prepare=_on_a_small_run_disk,
        quick=False,
    ),
)
