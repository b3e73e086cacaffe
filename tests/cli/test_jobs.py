"""``jobs``: what an operator sees of the journals, and may do about it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from comfy_supervisor.cli import dropping
from comfy_supervisor.jobs.job import SUBMITTED, Job, Process, State
from comfy_supervisor.jobs.journal import Journal
from tests.cli.service import Service
from tests.comfyui_server import image_job, sleep_job
from tests.nvml import Card, Nvml
from tests.support import wait_until

GRAPH = {"1": {"class_type": "LoadThing"}, "2": {"class_type": "Sample"}, "3": {"class_type": "Sample"}}
DEAD = Process("another boot", 1, 1.0)


@dataclass
class Kept:
    """A user's journal, of a ComfyUI that is dead by now."""

    service: Service
    instance: str = "cpu"

    def __post_init__(self) -> None:
        self.file = self.service.state / self.instance / "journal.sqlite"
        self.journal = Journal(self.file.parent)
        self.life = self.journal.begin_life(DEAD, time.time())

    def accept(self, prompt_id: str, graph: dict[str, Any] = GRAPH, **extra_data: str) -> str:
        """Write down a job that ComfyUI has accepted."""
        self.journal.accept(
            (float(time.time_ns()), prompt_id, graph, extra_data, [list(graph)[-1]]), self.life, State.QUEUED
        )
        return prompt_id

    def end(self, prompt_id: str, state: State = State.DONE, note: str = "") -> None:
        """Write down that a job has ended."""
        self.journal.moved(self.job(prompt_id), state, note)

    def job(self, prompt_id: str) -> Job:
        """Return a job as it is written down now."""
        found = self.journal.job(prompt_id)
        assert found
        return found

    def change(self, prompt_id: str, **values: object) -> None:
        """Have a job be as the health listener would write it down."""
        names = ", ".join(f"{name} = ?" for name in values)
        with closing(sqlite3.connect(self.file)) as sql, sql:
            sql.execute(f"UPDATE jobs SET {names} WHERE prompt_id = ?", (*values.values(), prompt_id))

    def quarantine(self, prompt_id: str) -> str:
        self.change(prompt_id, state="quarantined", life=None, suspect=2)
        return prompt_id


@pytest.fixture
def service(service: Service) -> Service:
    """A user whose configuration is rendered, and nothing runs."""
    service.ok("render")
    return service


@pytest.fixture
def kept(service: Service) -> Kept:
    """The user's journal."""
    return Kept(service)


def listed(service: Service, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return what ``jobs --json`` tells, by id."""
    return {job["id"]: job for job in json.loads(service.ok("jobs", *arguments, "--json"))}


class TestList:
    def test_without_a_journal_no_jobs_are_known_and_none_is_made(self, service: Service) -> None:
        assert service.ok("jobs") == "no jobs are known yet\n"
        assert listed(service) == {}
        assert service.ok("jobs", "export") == ""
        assert not list((service.state / "cpu").glob("journal*"))

    def test_what_waits_runs_or_is_set_aside_is_shown_and_the_rest_counted(self, kept: Kept) -> None:
        for each in ("aaaaaaaa-1", "bbbbbbbb-2", "cccccccc-3", "dddddddd-4"):
            kept.accept(each)
        kept.quarantine("bbbbbbbb-2")
        kept.end("cccccccc-3")
        kept.change("dddddddd-4", life=None, waits="old", victim=1)
        assert set(listed(kept.service)) == {"aaaaaaaa-1", "bbbbbbbb-2", "dddddddd-4"}
        header, first, second, third, counts = kept.service.ok("jobs").splitlines()
        assert header.split() == ["id", "instance", "state", "age", "since", "charges", "waits", "for", "note"]
        assert first.split()[:3] == ["aaaaaaaa", "comfyui", "queued"]
        assert second.startswith("dddddddd  comfyui   queued")
        assert "ran at 1 death " in second
        assert "an operator: older than jobs.max_age" in second
        assert third.startswith("bbbbbbbb  comfyui   quarantined")
        assert "suspected of 2 deaths" in third
        assert "an operator: set aside" in third
        assert counts == "comfyui: 1 queued, 1 waiting, 1 quarantined, 1 done"

    def test_others_are_shown_on_request(self, kept: Kept) -> None:
        for each in ("one", "two", "three"):
            kept.accept(each)
        kept.end("one", State.FAILED, "no such model")
        kept.end("two")
        assert set(listed(kept.service, "list", "--all")) == {"one", "two", "three"}
        assert set(listed(kept.service, "--state", "failed", "--state", "done")) == {"one", "two"}
        assert listed(kept.service, "--all")["one"]["note"] == "no such model"
        assert "no such model" in kept.service.ok("jobs", "--all", "cpu")

    def test_ids_are_shown_as_long_as_it_takes_to_tell_them_apart(self, kept: Kept) -> None:
        kept.accept("a-long-name-1")
        kept.accept("a-long-name-2")
        assert [line.split()[0] for line in kept.service.ok("jobs").splitlines()[1:3]] == [
            "a-long-name-1",
            "a-long-name-2",
        ]

    def test_nothing_that_a_terminal_obeys_gets_through(self, kept: Kept) -> None:
        kept.accept("\x1b[31mred\x9b1m")
        kept.change("\x1b[31mred\x9b1m", note="\x1b]0;title\x07 gone\n next")
        for arguments in (["jobs"], ["jobs", "--json"], ["jobs", "show", "\x1b"], ["jobs", "show", "\x1b", "--json"]):
            said = kept.service.ok(*arguments)
            assert not {"\x1b", "\x9b", "\x07"} & set(said)
            assert "title" in said
        done = kept.service.run("jobs", "retry", "\x1b")
        assert not {"\x1b", "\x9b"} & set(done.stdout + done.stderr)

    @pytest.mark.parametrize("verb", ["lst", "retyr", "exprot"])
    def test_a_misspelt_verb_is_no_instances_name(self, verb: str, service: Service) -> None:
        assert "no such command; did you mean jobs " in service.refused("jobs", verb)

    def test_a_strange_name_is_one(self, service: Service) -> None:
        assert "gpu7: no such program; there is comfyui" in service.refused("jobs", "gpu7")


class TestShow:
    def test_all_of_one_job(self, kept: Kept) -> None:
        kept.quarantine(kept.accept("aaaaaaaa-1", client_id="me", api_key_comfy_org="secret"))
        said = kept.service.ok("jobs", "show", "aaa")
        assert "id         aaaaaaaa-1\n" in said
        assert "nodes      LoadThing, Sample x 2\n" in said
        assert "API keys   not kept: api_key_comfy_org\n" in said
        assert "secret" not in said
        told = json.loads(kept.service.ok("jobs", "show", "aaa", "--json"))
        assert (told["state"], told["suspect"], told["keys_not_kept"]) == ("quarantined", 2, ["api_key_comfy_org"])
        assert told["request"]["prompt"] == GRAPH
        assert told["request"]["extra_data"] == {"client_id": "me"}

    def test_of_what_has_ended_there_is_no_graph(self, kept: Kept) -> None:
        kept.accept("aaaaaaaa-1")
        kept.end("aaaaaaaa-1")
        assert "nodes      not kept\n" in kept.service.ok("jobs", "show", "a")
        assert json.loads(kept.service.ok("jobs", "show", "a", "--json"))["request"] is None

    def test_an_id_that_may_mean_several_names_them(self, kept: Kept) -> None:
        kept.accept("abc-1")
        kept.accept("abc-2")
        kept.accept("abc")
        said = kept.service.refused("jobs", "show", "ab")
        assert said.startswith("error: ab: may mean abc-1 (comfyui), abc-2 (comfyui), abc (comfyui); ")
        assert "id         abc\n" in kept.service.ok("jobs", "show", "abc")

    @pytest.mark.parametrize("text", ["nobody", "", "%", "a*"])
    def test_an_id_that_means_none_is_a_mistake(self, text: str, kept: Kept) -> None:
        kept.accept("abc-1")
        assert "no such job; comfy-supervisor jobs --all shows" in kept.service.refused("jobs", "show", text)


class TestSeveral:
    def test_an_id_is_looked_for_in_all_instances(self, gpu_service: Service, nvml: Nvml) -> None:
        nvml.cards([Card(), Card()])
        gpu_service.settings(gpu={"devices": "all"}, paths={"output": str(gpu_service.folder / "output")})
        gpu_service.ok("render")
        first, second = Kept(gpu_service, "gpu0"), Kept(gpu_service, "gpu1")
        first.accept("abc-1")
        second.accept("abc-2")
        first.accept("both")
        second.accept("both")
        assert {job["instance"] for job in json.loads(gpu_service.ok("jobs", "--json"))} == {"gpu0", "gpu1"}
        assert set(listed(gpu_service, "gpu1")) == {"abc-2", "both"}
        assert "instance   comfyui:gpu1\n" in gpu_service.ok("jobs", "show", "abc-2")
        said = gpu_service.refused("jobs", "drop", "both")
        assert said.startswith("error: both: may mean both (comfyui:gpu0), both (comfyui:gpu1); ")
        assert gpu_service.ok("jobs", "drop", "both", "--instance", "gpu1") == "both: dropped\n"
        assert (first.job("both").state, second.job("both").state) == (State.QUEUED, State.DELETED)


class TestRetry:
    def test_what_is_set_aside_is_submitted_again_its_charges_forgiven(self, kept: Kept) -> None:
        kept.quarantine(kept.accept("abc-1"))
        done = kept.service.run("jobs", "retry", "abc")
        assert (done.returncode, done.stdout) == (0, "abc-1: is going to be submitted again\n")
        assert done.stderr.startswith("note: supervisord isn't running: this takes effect once it does")
        job = kept.job("abc-1")
        assert (job.state, job.life, job.suspect) == (State.QUEUED, None, 0)

    def test_what_it_will_lack_is_told(self, kept: Kept) -> None:
        kept.quarantine(kept.accept("abc-1", api_key_comfy_org="secret"))
        said = "abc-1: is going to be submitted again, without its API keys (api_key_comfy_org)\n"
        assert kept.service.ok("jobs", "retry", "abc") == said

    def test_all_of_a_kind(self, kept: Kept) -> None:
        for each in ("one", "two", "three"):
            kept.accept(each)
        kept.quarantine("one")
        kept.change("two", life=None, waits="never")
        assert kept.service.ok("jobs", "retry", "--waiting") == "two: is going to be submitted again\n"
        assert kept.job("one").state is State.QUARANTINED
        assert kept.service.ok("jobs", "retry", "--quarantined", "--waiting") == "one: is going to be submitted again\n"
        assert kept.service.ok("jobs", "retry", "--quarantined") == "there is none\n"

    def test_what_has_ended_is_not_kept_and_nothing_else_is_done(self, kept: Kept) -> None:
        kept.quarantine(kept.accept("one"))
        kept.accept("two")
        kept.end("two")
        assert "two: is done, and its graph is not kept; submit it anew" in kept.service.refused(
            "jobs", "retry", "one", "two"
        )
        assert kept.job("one").state is State.QUARANTINED

    def test_what_goes_on_anyway_needs_none(self, kept: Kept) -> None:
        kept.accept("one")
        assert kept.service.ok("jobs", "retry", "one") == "one: needs no retry: it is queued\n"
        assert kept.job("one").life is not None

    def test_comfyui_then_gets_it(self, up: Service) -> None:
        up.ok("pause")
        job = up.submit(image_job())
        up.ok("drain")
        kept = Kept(up)
        kept.quarantine(job)
        up.ok("start")
        up.wait_for_api()
        done = up.run("jobs", "retry", job[:13])
        assert (done.stdout, done.stderr) == (f"{job}: is going to be submitted again\n", "")
        assert up.finished(job)["status"]["status_str"] == "success"
        wait_until(lambda: kept.job(job).state is State.DONE)

    def test_none_is_meant_by_nothing(self, kept: Kept) -> None:
        assert "jobs retry: which?" in kept.service.refused("jobs", "retry")


class TestExport:
    def test_each_line_is_what_comfyui_takes(self, kept: Kept) -> None:
        kept.accept("one", client_id="me", auth_token_comfy_org="secret")
        kept.accept("two")
        kept.quarantine(kept.accept("three"))
        kept.accept("four")
        kept.end("four")
        done = kept.service.run("jobs", "export")
        assert done.returncode == 0
        first, *others = map(json.loads, done.stdout.splitlines())
        assert first == {
            "prompt": GRAPH,
            "prompt_id": "one",
            "client_id": "me",
            "extra_data": {"client_id": "me"},
            "partial_execution_targets": ["3"],
        }
        assert [each["prompt_id"] for each in others] == ["two", "three"]
        assert done.stderr == "note: one lacks its auth_token_comfy_org\n"

    def test_a_comfyui_takes_it(self, kept: Kept, up: Service) -> None:
        job = kept.accept(str(uuid.uuid4()), image_job())
        exported = kept.service.ok("jobs", "export")
        answer = requests.post(f"{up.url}/prompt", data=exported, timeout=30)
        assert answer.json().get("prompt_id") == job, answer.text
        assert up.finished(job)["status"]["status_str"] == "success"


class TestJournal:
    @pytest.mark.parametrize("verb", [["list"], ["export"], ["show", "a"], ["retry", "a"], ["drop", "a"]])
    def test_a_damaged_one_is_one_line_with_the_mend(self, verb: list[str], service: Service) -> None:
        file = service.state / "cpu" / "journal.sqlite"
        file.write_bytes(b"this is no journal" * 400)
        done = service.run("jobs", *verb)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: comfyui: {file}: file is not a database; comfy-supervisor restart sets ")
        assert done.stderr.count("\n") == 1
        assert file.read_bytes().startswith(b"this is no journal")

    def test_neither_a_link_nor_a_pipe_in_its_place_is_opened(self, service: Service) -> None:
        file = service.state / "cpu" / "journal.sqlite"
        os.mkfifo(file)
        assert "not a plain file" in service.run("jobs").stderr
        file.unlink()
        file.symlink_to("/etc/passwd")
        assert "not a plain file" in service.run("jobs").stderr

    def test_status_counts_what_is_kept_while_nothing_runs(self, kept: Kept) -> None:
        kept.accept("one")
        kept.quarantine(kept.accept("two"))
        header, row, _ = kept.service.ok("status").splitlines()[:3]
        assert header.split()[8] == "jobs"
        assert "  1 kept, 1 quarantined  " in row
        (told,) = kept.service.status()
        assert told["jobs"] == {
            "queued": 1,
            "running": 0,
            "waiting": 0,
            "quarantined": 1,
            "done": 0,
            "failed": 0,
            "deleted": 0,
        }
        assert (told["journal"], told["paused"]) == ("ok", False)

    def test_status_survives_a_damaged_one(self, service: Service) -> None:
        (service.state / "cpu" / "journal.sqlite").write_bytes(b"this is no journal" * 400)
        assert "comfyui: its journal of jobs: " in service.ok("status")
        assert (service.status()[0]["jobs"], service.status()[0]["journal"]) == (None, "unreadable")


class TestDrop:
    def test_what_is_in_no_queue_is_deleted(self, kept: Kept) -> None:
        """Set aside, waiting, or left behind in the queue of a ComfyUI that is dead."""
        for each in ("one", "two", "three"):
            kept.accept(each)
        kept.quarantine("one")
        kept.change("two", life=None, waits="old")
        assert kept.service.ok("jobs", "drop", "one", "two", "three") == "one: dropped\ntwo: dropped\nthree: dropped\n"
        assert {kept.job(each).state for each in ("one", "two", "three")} == {State.DELETED}
        assert kept.service.ok("jobs", "drop", "one") == "one: is deleted already\n"
        assert kept.service.ok("jobs", "export") == ""

    def test_what_has_changed_places_meanwhile_is_looked_for_again(self, kept: Kept) -> None:
        before = kept.job(kept.accept("one"))
        kept.change("one", life=None)
        assert not kept.journal.drop(before)
        assert kept.job("one").state is State.QUEUED
        assert kept.journal.drop(kept.job("one"))

    def test_from_outside_one_that_is_being_submitted_stays(self, service: Service) -> None:
        """It may come into the queue at any moment, and nobody within ComfyUI would know that it was dropped."""
        service.settings(jobs={"extension": False})
        service.ok("up", "-d")
        job = service.submit(sleep_job(60))
        wait_until(lambda: job in listed(service))
        os.kill(service.pid("comfyui-health"), signal.SIGSTOP)
        with closing(sqlite3.connect(service.state / "cpu" / "journal.sqlite")) as sql, sql:
            sql.execute("UPDATE jobs SET prompt_id = 'one', state = 'queued', note = ?", (SUBMITTED,))
        done = service.run("jobs", "drop", "one")
        assert (done.returncode, done.stdout) == (1, "one: can't be got hold of; try again\n")
        assert listed(service)["one"]["state"] == "queued"

    def test_what_is_in_comfyuis_queue_is_deleted_there(self, up: Service) -> None:
        running, waiting = up.submit(sleep_job(60)), up.submit(sleep_job(60))
        wait_until(lambda: listed(up)[running]["state"] == "running")
        assert up.ok("jobs", "drop", waiting) == f"{waiting}: dropped\n"
        queue = requests.get(f"{up.url}/queue", timeout=30).json()
        assert [item[1] for item in (*queue["queue_running"], *queue["queue_pending"])] == [running]
        assert up.ok("jobs", "drop", running[:9]) == f"{running}: runs, and is asked to give up\n"
        up.finished(running)
        wait_until(lambda: not listed(up))
        assert {each["state"] for each in listed(up, "--all").values() if each["id"] in (running, waiting)} == {
            "deleted"
        }

    def test_without_the_extension_it_is_written_down_at_once_too(self, service: Service) -> None:
        """Until the listener's next look, ComfyUI's death would bring it back."""
        service.settings(jobs={"extension": False})
        service.ok("up", "-d")
        running, waiting = service.submit(sleep_job(60)), service.submit(sleep_job(60))
        wait_until(lambda: {running, waiting} <= listed(service).keys())
        assert service.ok("jobs", "drop", waiting) == f"{waiting}: dropped\n"
        assert listed(service, "--all")[waiting]["state"] == "deleted"

    def test_a_comfyui_that_does_not_answer_keeps_it_and_says_so(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And is waited for once, however many jobs it has."""
        monkeypatch.setattr(dropping, "PATIENCE", 1.0)
        service.ok("up", "-d")
        service.ok("maintenance", "on")
        ids = [service.submit(sleep_job(60)) for _ in range(20)]
        wait_until(lambda: listed(service)[ids[0]]["state"] == "running", what="nothing is written any more")
        os.kill(service.pid(), signal.SIGSTOP)
        began = time.monotonic()
        done = service.run("jobs", "drop", *ids)
        lasted = time.monotonic() - began
        said = "".join(f"{job}: stays: ComfyUI, which has it in its queue, does not answer\n" for job in ids)
        assert (done.returncode, done.stdout) == (1, said)
        assert lasted < 15.0
        assert listed(service)[ids[0]]["state"] == "running"
