"""One look at one instance, beyond what the senses' parts are tested for."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor import rpc
from comfy_supervisor.gpu.watch import Watch as GpuWatch
from comfy_supervisor.health.policy.evidence import Finished, Life, Observation, Reply
from comfy_supervisor.health.senses.look import Senses
from comfy_supervisor.health.watched import Watched
from comfy_supervisor.launch import records
from tests.supervisord import Supervisord
from tests.support import wait_until

GRAPH = {"1": {"class_type": "Picture", "inputs": {"data": "x" * 100_000}}}


@dataclass
class Comfy:
    """What a ComfyUI without a worker answers: liveness, and what it is given to tell; it fails at all else."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    ended: str | None = None
    """The job in its history; None: it fails to tell."""

    def answer(self, path: str) -> object:
        self.asked.append(path)
        jobs = [[number, each, GRAPH, {}, []] for number, each in enumerate(self.jobs)]
        if path == "/prompt":
            return {"exec_info": {"queue_remaining": len(jobs)}}
        if path == "/queue":
            return {"queue_running": jobs[:1], "queue_pending": jobs[1:]}
        if path == "/history?max_items=1" and self.ended is not None:
            status = {"status_str": "success", "completed": True, "messages": []}
            job = {"prompt": [1, self.ended, GRAPH, {}, []], "outputs": {}, "status": status}
            return {self.ended: job} if self.ended else {}
        return None

    def times(self, path: str) -> int:
        """Return how often it was asked since the last time."""
        found = self.asked.count(path)
        self.asked.clear()
        return found


class _Handler(http.server.BaseHTTPRequestHandler):
    comfy: Comfy

    def do_GET(self) -> None:  # http.server's name for it
        answer = self.comfy.answer(self.path)
        body = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(200 if body else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def comfy() -> Iterator[Comfy]:
    found = Comfy()
    handler = type("Handler", (_Handler,), {"comfy": found})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        found.port = server.server_port
        yield found
        server.shutdown()


def _senses(supervisord: Supervisord, folder: Path, port: int = 1, program: str = "comfyui") -> Senses:
    folders = (str(folder / "state"), str(folder / "run"), str(folder / "log"))
    watched = Watched(program, "cpu", f"http://127.0.0.1:{port}", port, *folders)
    return Senses(watched, rpc.Supervisor(supervisord.url), GpuWatch())


@dataclass
class Watcher:
    """Looks each second, by a clock of its own."""

    senses: Senses
    folder: Path
    life: Life
    now: float = 1000.0
    beat: dict[str, Any] | None = None
    """What the extension tells; None: there is none."""

    def log(self, text: str) -> None:
        with (self.folder / "log").open("a") as log:
            log.write(text)

    def look(self, **how: bool) -> Observation:
        self.now += 1
        if self.beat is not None:
            life = {"boot": self.life.boot, "pid": self.life.pid, "at": self.now, "worker": "alive"}
            records.write(str(self.folder / "run" / "heartbeat.json"), {"v": 1, **life, **self.beat})
        return self.senses.look(self.now, **{"suspect": False, **how})


@pytest.fixture
def watcher(supervisord: Supervisord, comfy: Comfy, tmp_path: Path) -> Watcher:
    """A look at a process that does nothing, under a real supervisord, with a ComfyUI's answers."""
    supervisord.start("[program:comfyui]\ncommand=sleep 1000\nstartsecs=0\n")
    wait_until(lambda: supervisord.info().pid)
    # what is still supervisord's own image is another life
    wait_until(lambda: Path(f"/proc/{supervisord.info().pid}/comm").read_text() == "sleep\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "log").touch()
    senses = _senses(supervisord, tmp_path, comfy.port)
    seen = senses.look(999.0, suspect=False)
    assert seen.life
    comfy.asked.clear()
    return Watcher(senses, tmp_path, seen.life)


def test_the_device_is_asked_for_three_times_at_most(watcher: Watcher, comfy: Comfy) -> None:
    """It is work for ComfyUI's event loop, and one that can't answer won't at each look either."""
    for _ in range(10):
        assert watcher.look().reply is Reply.GOOD
    assert comfy.times("/system_stats") == 2  # and once before


HISTORY = "/history?max_items=1"
BAR = "\r 45%|####      | 9/20 [00:09<00:11,  1.00it/s]"


def test_a_progress_bar_is_no_reason_to_fetch_the_last_jobs_graph(watcher: Watcher, comfy: Comfy) -> None:
    """Which is all that there is in its history, and may be of some megabytes."""
    comfy.ended, comfy.jobs = "before", ["now"]
    for _ in range(90):
        watcher.log(BAR)
        assert watcher.look().finished in (None, Finished("before"))
    assert 1 <= comfy.times(HISTORY) <= 5


def test_with_the_extension_a_step_is_no_reason_either(watcher: Watcher, comfy: Comfy) -> None:
    comfy.ended, comfy.jobs = "before", ["now"]
    for step in range(90):
        watcher.log(BAR)
        watcher.beat = {"prompt_id": "now", "step": float(step), "progress_at": watcher.now}
        watcher.look()
    assert comfy.times(HISTORY) == 1


@pytest.mark.parametrize("line", ["Prompt executed in 0.10 seconds\n", "!!! Exception during processing !!! no\n"])
def test_a_jobs_end_in_the_log_is_looked_up_at_once(watcher: Watcher, comfy: Comfy, line: str) -> None:
    """Though another job has come in, so that there are as many as before; and wherever the log is cut."""
    comfy.ended, comfy.jobs = "before", ["now"]
    for _ in range(5):
        watcher.look()
    comfy.ended = "now"
    for part in (line[:9], line[9:]):
        watcher.log(part)
        watcher.look()
    assert [watcher.look().finished for _ in range(3)][-1] == Finished("now")
    comfy.asked.clear()
    for _ in range(60):
        watcher.look()
    assert comfy.times(HISTORY) == 0  # nothing has moved


def test_what_a_log_loses_may_have_been_a_jobs_end(watcher: Watcher, comfy: Comfy) -> None:
    comfy.ended, comfy.jobs = "before", ["now"]
    for _ in range(5):
        watcher.look()
    for ended in ("rotated", "cut", "long"):
        comfy.ended = ended
        if ended == "rotated":
            (watcher.folder / "log").rename(watcher.folder / "log.1")
            watcher.log("x" * 99)
        elif ended == "cut":
            (watcher.folder / "log").write_text("")
        else:
            watcher.log("x" * 300_000)
        assert [watcher.look().finished for _ in range(4)][-1] == Finished(ended)


def test_with_the_extension_each_job_that_ran_is_looked_up_however_quick(watcher: Watcher, comfy: Comfy) -> None:
    comfy.ended, watcher.beat = "a", {"progress_at": 900.0}
    for _ in range(5):
        watcher.look()
    comfy.ended, watcher.beat = "b", {"progress_at": 1004.5}  # it came and went between two looks
    assert [watcher.look().finished for _ in range(3)][-1] == Finished("b")
    comfy.jobs = ["c"]
    for ended, runs in (("b", "c"), ("c", "d")):
        comfy.ended, watcher.beat = ended, {"prompt_id": runs, "progress_at": 1008.0}
        assert [watcher.look().finished for _ in range(4)][-1] == Finished(ended)
    comfy.asked.clear()
    for _ in range(20):
        watcher.look()
    assert comfy.times(HISTORY) == 0


def test_a_history_that_is_not_told_is_asked_for_again_and_rarely(watcher: Watcher, comfy: Comfy) -> None:
    comfy.jobs = ["now"]
    for _ in range(65):
        watcher.look()
    assert 2 <= comfy.times(HISTORY) <= 3
    comfy.ended = "before"
    assert [watcher.look().finished for _ in range(35)][-1] == Finished("before")


def test_an_empty_history_takes_nothing_back(watcher: Watcher, comfy: Comfy) -> None:
    comfy.ended = "before"
    watcher.log("Prompt executed")
    assert [watcher.look().finished for _ in range(4)][-1] == Finished("before")
    comfy.ended = ""
    watcher.log("Prompt executed")
    assert [watcher.look().finished for _ in range(4)][-1] == Finished("before")
    assert comfy.times(HISTORY) == 2


def test_a_queue_that_changes_each_second_is_looked_at_twice_a_minute(watcher: Watcher, comfy: Comfy) -> None:
    for number in range(60):
        comfy.jobs.append(f"job-{number}")
        watcher.look()
    assert comfy.times("/queue") == 2


def test_what_fills_up_while_a_job_is_suspect_is_looked_at_more_often_and_before_it_decides(
    watcher: Watcher, comfy: Comfy
) -> None:
    looks = []
    for number in range(36):
        comfy.jobs.append(f"job-{number}")
        looks.append(watcher.look(suspect=True))
    assert comfy.times("/queue") == 4
    assert [seen.queue_seen for seen in looks].count(True) == 4
    assert {seen.running.prompt_id for seen in looks if seen.running} == {"job-0"}
    del comfy.jobs[0]
    comfy.jobs += ["more", "and more"]
    seen = watcher.look(suspect=True, decides=True)
    assert seen.queue_seen
    assert seen.running
    assert seen.running.prompt_id == "job-1"


def test_what_supervisord_no_longer_knows_was_taken_away(supervisord: Supervisord, tmp_path: Path) -> None:
    supervisord.start("[program:other]\ncommand=sleep 1000\nstartsecs=0\n")
    assert _senses(supervisord, tmp_path).look(1.0, suspect=False).supervised == "STOPPED"


def test_a_supervisord_that_shuts_down_says_nothing_of_an_operator(supervisord: Supervisord, tmp_path: Path) -> None:
    """It refuses every question then, also at a reload, after which all goes on."""
    unmoved_by_the_stop = "stopsignal=WINCH\nstopwaitsecs=60\n"
    supervisord.start(f"[program:comfyui]\ncommand=sleep 1000\nstartsecs=0\n{unmoved_by_the_stop}")
    wait_until(lambda: supervisord.info().pid)
    senses = _senses(supervisord, tmp_path)
    wait_until(lambda: senses.look(1.0, suspect=False).supervised == "RUNNING")
    assert supervisord.rpc.shutdown() is True
    wait_until(lambda: senses.look(1.0, suspect=False).supervised == "")
    assert senses.look(1.0, suspect=False).reply_text == "supervisord is being shut down"
