"""``pause``, ``resume`` and ``drain``, on a stand-in that runs our extension."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from comfy_supervisor.cli import holding
from comfy_supervisor.cli.drain import Wait, refuse_loss
from comfy_supervisor.errors import UserError
from comfy_supervisor.health.senses.heartbeat import Heartbeat
from comfy_supervisor.health.senses.probe import Answer
from comfy_supervisor.jobs.job import Process, State, Tally
from comfy_supervisor.jobs.journal import Journal
from comfy_supervisor.rendered import Service as Rendering
from comfy_supervisor.status import Status
from tests.cli.service import Service
from tests.comfyui_server import image_job, sleep_job
from tests.support import wait_until
from tests.test_status import instance

SLOW = sleep_job(60)


@contextmanager
def serving(answer: str) -> Iterator[int]:
    """Give the port of a server that answers so, whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def up(up: Service) -> Iterator[Service]:
    """A service that is up and paused by nobody, without jobs; what a test leaves is taken away."""
    yield up
    up.ok("start")
    up.ok("resume")
    up.wait_for_api()
    requests.post(f"{up.url}/queue", json={"clear": True}, timeout=30)
    requests.post(f"{up.url}/interrupt", json={}, timeout=30)
    wait_until(lambda: remaining(up) == 0)


def remaining(service: Service) -> int:
    """Return how many jobs run and wait."""
    found: int = requests.get(f"{service.url}/prompt", timeout=30).json()["exec_info"]["queue_remaining"]
    return found


def is_done(service: Service, prompt_id: str) -> bool:
    return bool(requests.get(f"{service.url}/history/{prompt_id}", timeout=30).json())


def running(service: Service) -> list[str]:
    """Return the running jobs."""
    return [item[1] for item in requests.get(f"{service.url}/queue", timeout=30).json()["queue_running"]]


def interrupt(service: Service, prompt_id: str) -> None:
    requests.post(f"{service.url}/interrupt", json={"prompt_id": prompt_id}, timeout=30)


class TestPause:
    def test_no_further_job_is_begun_until_resume(self, up: Service) -> None:
        first = up.submit(SLOW)
        wait_until(lambda: running(up) == [first])
        second = up.submit(image_job())
        assert up.ok("pause") == "comfyui: paused; its job is finished first, 1 waiting\n"
        assert running(up) == [first]
        interrupt(up, first)
        up.finished(first)
        with pytest.raises(AssertionError, match="not within"):
            wait_until(lambda: is_done(up, second), 1.5)
        assert up.ok("resume", "cpu") == "comfyui: begins jobs again\n"
        up.finished(second)

    def test_status_shows_it(self, up: Service) -> None:
        assert up.status()[0]["paused"] is False
        up.ok("pause")
        assert "(paused)" in up.ok("status")
        assert up.status()[0]["paused"] is True
        up.ok("resume")
        assert "(paused)" not in up.ok("status")

    def test_a_restart_keeps_it(self, up: Service) -> None:
        up.ok("pause")
        up.ok("restart")
        up.wait_for_api()
        job = up.submit(image_job())
        with pytest.raises(AssertionError, match="not within"):
            wait_until(lambda: is_done(up, job), 1.5)
        up.ok("resume")
        up.finished(job)

    def test_one_that_does_not_run_can_be_paused_beforehand(self, up: Service) -> None:
        up.ok("stop")
        assert up.ok("pause") == "comfyui: paused; it does not run, and will begin no job when it does\n"
        assert up.ok("resume") == "comfyui: is not paused any more; it does not run\n"
        assert up.ok("resume") == "comfyui: was not paused\n"

    def test_without_the_extension_nothing_is_ordered(self, service: Service) -> None:
        service.settings(jobs={"extension": False})
        service.ok("up", "-d")
        for command in ("pause", "drain"):
            done = service.run(command)
            assert done.returncode == 1
            assert done.stderr.startswith("error: comfyui: runs without comfy-supervisor's extension")
            assert not (service.state / "run" / "cpu" / "pause.json").exists()
        assert service.info().statename == "RUNNING"

    @pytest.mark.parametrize(("extension", "said"), [(True, "says nothing in it"), (False, "runs without")])
    def test_one_that_says_nothing_is_not_said_to_have_been_left_out(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], extension: bool, said: str
    ) -> None:
        """As where the disk is full that it would tell on."""
        one = instance(command=("python", "main.py", *["/extension.yaml"] * extension))
        mute = Status(one, "RUNNING", pid=7, answer=Answer(ready=True))
        monkeypatch.setattr(holding, "until", lambda *_: (mute,))
        assert not holding.is_possible(Rendering(one.state, one.state, one.state, one.log, (one,)), (one,))
        assert said in capsys.readouterr().err


class TestDrain:
    def test_the_running_job_is_finished_and_the_rest_comes_back_at_the_next_start(self, up: Service) -> None:
        first = up.submit(SLOW)
        wait_until(lambda: running(up) == [first])
        others = [up.submit(image_job()) for _ in range(3)]
        drain = up.start("drain")
        drain.wait_for(f"comfyui: finishes job {first[:8]}")
        assert up.info().statename == "RUNNING"
        interrupt(up, first)
        assert drain.end() == 0
        assert drain.output.endswith("comfyui: drained and stopped; 3 jobs are kept for its next start\n")
        assert up.info().statename == "STOPPED"
        assert "  3 kept  " in up.ok("status")
        assert up.status()[0]["paused"] is False
        up.ok("start")
        up.wait_for_api()
        for job in others:
            up.finished(job)

    def test_what_is_idle_is_stopped_at_once(self, up: Service) -> None:
        assert up.ok("drain", "comfyui") == "comfyui: drained and stopped; no jobs are kept\n"
        assert up.ok("drain") == "comfyui: was stopped already; no jobs are kept\n"

    def test_ctrl_c_resumes(self, up: Service) -> None:
        first = up.submit(SLOW)
        wait_until(lambda: running(up) == [first])
        drain = up.start("drain")
        drain.wait_for("finishes job")
        drain.interrupt()
        assert drain.end() == 130
        assert drain.output.rstrip().endswith(" interrupted: jobs are begun again")
        assert (up.info().statename, up.status()[0]["paused"]) == ("RUNNING", False)

    @pytest.mark.parametrize("paused", [False, True])
    def test_after_its_time_all_is_as_it_was_before(self, paused: bool, up: Service) -> None:
        first = up.submit(SLOW)
        wait_until(lambda: running(up) == [first])
        if paused:
            up.ok("pause")
        done = up.run("drain", "--timeout", "1")
        assert done.returncode == 1
        assert done.stderr.startswith("note: a job still runs after 1 s; nothing was stopped")
        assert (up.info().statename, up.status()[0]["paused"]) == ("RUNNING", paused)

    def test_what_waits_for_an_operator_then_is_said_to(self, service: Service) -> None:
        service.settings(jobs={"replay": "never"})
        service.ok("up", "-d")
        service.ok("pause")
        service.submit(image_job())
        said = service.ok("drain")
        assert said.endswith('; 1 job is kept, for comfy-supervisor jobs retry --waiting (jobs.replay = "never")\n')

    @pytest.mark.parametrize(("waiting", "loses"), [(2, "2 jobs wait"), (1, "1 job waits"), (0, "")])
    def test_what_waits_beside_a_journal_that_can_not_be_written_a_stop_would_lose(
        self, waiting: int, loses: str
    ) -> None:
        beat = Heartbeat("boot", 7, 0.0, "alive", journal="degraded", queue=(0, waiting))
        found = Status(instance(), "RUNNING", pid=7, beat=beat)
        with pytest.raises(UserError, match=f"{loses}, and its journal can't") if loses else nullcontext():
            refuse_loss([found])

    @pytest.mark.parametrize(
        ("journal", "kept", "queue", "loses"),
        [
            ("left", ["ended", "a"], ["a", "b"], "2 jobs wait; a stop would lose 1, .* try again in a minute"),
            ("left", ["a", "b"], ["a", "b"], ""),
            ("left", ["a", "b"], None, "2 jobs wait, and which can't be told now"),
            ("ok", ["a"], ["a", "odd", None], "2 jobs wait; a stop would lose 2, .* resume lets it run"),
            ("ok", ["a", "b"], ["a", "b"], ""),
            ("ok", ["a", "b"], None, ""),
            ("ok", ["a"], None, "2 jobs wait, and which can't be told now"),
        ],
    )
    def test_a_stop_loses_what_is_in_no_journal(
        self, tmp_path: Path, journal: str, kept: list[str], queue: list[str | None] | None, loses: str
    ) -> None:
        """The listener may not have seen it yet, though it knows of as many; or it is of a form that nobody knows."""
        with closing(Journal(tmp_path)) as written:
            life = written.begin_life(Process("boot", 7, 1.0), 0.0)
            for number, prompt_id in enumerate(kept):
                written.accept((number, prompt_id, {}, {}, []), life, State.QUEUED)
        jobs: list[list[object]] = [[1, each, {}, {}, []] if each != "odd" else [1, each] for each in queue or ()]
        answer = json.dumps({"queue_running": [], "queue_pending": jobs}) if queue is not None else "no JSON"
        beat = Heartbeat("boot", 7, 0.0, "alive", journal=journal, queue=(0, 2))
        with serving(answer) as port:
            of = replace(instance(), state=tmp_path, addresses=(f"127.0.0.1:{port}",))
            with pytest.raises(UserError, match=loses) if loses else nullcontext():
                refuse_loss([Status(of, "RUNNING", pid=7, beat=beat, jobs=Tally(queued=len(kept)))])

    def test_one_beat_alone_does_not_tell_that_nothing_runs(self) -> None:
        """A job may be on its way to the worker at the first."""
        wait = Wait()

        def is_over(at: float, held: str = "paused", running: int = 0) -> bool:
            beat = Heartbeat("boot", 7, at, "alive", held, queue=(running, 3))
            return wait.is_over(Status(instance(), "RUNNING", pid=7, beat=beat))

        assert [is_over(1.0), is_over(1.0), is_over(2.0, running=1), is_over(3.0), is_over(4.0)] == [
            *(False, False, False, False),
            True,
        ]
        assert not is_over(5.0, held="")

    def test_on_a_terminal_a_line_tells_how_far_the_job_is(self, up: Service) -> None:
        first = up.submit(sleep_job(60, steps=600))
        wait_until(lambda: running(up) == [first])
        assert up.on_terminal("drain", f"comfyui: {first[:8]} StandinSleep (1), step ")
