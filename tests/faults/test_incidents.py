"""Every restart, crash and fault leaves a page that says what was seen, what was done, and whose fault it was."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.conftest import discharged
from tests.faults.patient import Patient, sleeper
from tests.support import make_program, needs_comfyui, wait_until

SOON = 30.0


def incidents(patient: Patient) -> list[dict[str, Any]]:
    """Return all incidents' records, the oldest first."""
    files = sorted((patient.state / "incidents").glob("[!.]*/incident.json"))  # one being written begins with a dot
    return [json.loads(file.read_text()) for file in files]


def ids(patient: Patient) -> set[str]:
    """Return what is known: two incidents of one second are not sorted by what came first."""
    return {str(each["id"]) for each in incidents(patient)}


def wait_for(patient: Patient, kind: str, known: Collection[str] = ()) -> dict[str, Any]:
    """Wait until there is one of a kind beyond those that are known, and return it."""

    def found() -> list[dict[str, Any]]:
        return [each for each in incidents(patient) if each["id"] not in known and each["kind"] == kind]

    patient.wait_for(found, SOON, f"an incident: {kind}")
    return found()[0]


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Take a port as soon as that can be had."""
    end = time.monotonic() + SOON
    while True:
        try:
            server = socket.create_server(("127.0.0.1", port))
            break
        except OSError:
            assert time.monotonic() < end
    with server:
        yield


def folder(patient: Patient, incident: dict[str, Any]) -> Path:
    return patient.state / "incidents" / str(incident["id"])


def test_a_stall_is_explained_and_the_page_tells_when_it_worked_again(well: Patient) -> None:
    known, pid = ids(well), well.pid()
    well.order("stall", deaf=True)
    prompt_id = well.submit(sleeper(60))
    well.wait_for_restart(pid, "stalled", SOON)
    found = wait_for(well, "restart", known)
    assert (found["cause"], found["pid"], found["jobs"]["running"]) == ("stalled", pid, prompt_id)
    assert found["explained"]["fix"]
    assert {moment["deed"] for moment in found["timeline"]} >= {"interrupt", "restart"}
    here = folder(well, found)
    assert {"graph.json", "log-before.txt", "process.json", "queue.json"} <= set(found["files"])
    assert "StandinSleep" in (here / "graph.json").read_text()
    well.wait_for(lambda: "it answers again" in (here / "report.md").read_text(), SOON)
    assert stat.S_IMODE(here.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in here.iterdir()} == {0o600}


def test_a_crash_is_told_by_its_signal(well: Patient) -> None:
    known, pid = ids(well), well.pid()
    os.kill(pid, signal.SIGSEGV)
    found = wait_for(well, "crash", known)
    assert (found["cause"], found["pid"]) == ("segfault", pid)
    assert "SIGSEGV" in found["ending"]
    assert "SIGSEGV" in (folder(well, found) / "report.md").read_text().splitlines()[0]


def test_what_an_operator_ends_is_no_incident(well: Patient) -> None:
    known, pid = ids(well), well.pid()
    well.ok("restart")
    well.wait_for_next_life(pid)
    well.wait_for_word("IDLE")
    well.ok("stop")
    well.wait_for_word("STOPPED")
    well.ok("start")
    well.wait_for_word("IDLE")
    assert ids(well) == known


def test_who_is_given_up_gets_a_page_and_ten_crashes_in_a_row_take_no_room(patient: Patient) -> None:
    """A crash, another … and the one after which it was given up; those of a storm are brief."""
    patient.settings(restart={"first_delay": 1, "longest_delay": 1, "budget": 5})
    patient.up()
    for _ in range(7):
        patient.wait_for(lambda: patient.is_well() or patient.word() == "GAVE_UP", SOON)
        if patient.word() == "GAVE_UP":
            break
        os.kill(patient.pid(), signal.SIGKILL)
        patient.wait_for(lambda: not patient.is_well(), SOON)
    found = wait_for(patient, "gave_up")
    assert "given up" in (folder(patient, found) / "report.md").read_text()
    crashes = [each for each in incidents(patient) if each["kind"] == "crash"]
    assert len(crashes) >= 4
    assert crashes[-1]["brief"]
    assert not crashes[0]["brief"]
    status = patient.status()[0]["incident"]
    assert status["program"] == "comfyui"
    assert "last incident" in patient.ok("status")


def test_a_port_that_somebody_else_took_is_a_fault_of_the_configuration(well: Patient) -> None:
    known, pid = ids(well), well.pid()
    os.kill(pid, signal.SIGKILL)
    with taken(well.port):
        found = wait_for(well, "configuration", known)
        assert found["cause"] == "port_in_use"
        assert str(well.port) in (folder(well, found) / "report.md").read_text()
    well.wait_for_word("IDLE")


def test_a_jobs_incident_is_named_and_can_be_shown_and_exported(patient: Patient) -> None:
    patient.settings(jobs={"extension": True, "replay": "always"})
    patient.up()
    pid = patient.pid()
    patient.order("stall", deaf=True)
    prompt_id = patient.submit(sleeper(60))
    patient.wait_for_restart(pid, "stalled", SOON)
    found = wait_for(patient, "restart")
    page = folder(patient, found) / "report.md"
    patient.wait_for(lambda: f"charged: 1: {prompt_id}" in page.read_text(), SOON, page.read_text())
    assert found["suspect"]["node"] == "1"
    assert found["suspect"]["class_type"] == "StandinSleep"
    assert "stacks.txt" in found["files"]
    assert found["id"] in patient.ok("jobs", "show", prompt_id)
    assert json.loads(patient.ok("incidents", "list", "--json"))[0]["id"] == found["id"]
    assert page.read_text().splitlines()[0] in patient.ok("incidents", "show", found["id"][:16])
    assert patient.ok("incidents", "export", found["id"], "-o", str(patient.folder / "x.tar.gz"))
    assert (patient.folder / "x.tar.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert "no such incident" in patient.refused("incidents", "show", "1999")


@pytest.mark.parametrize("how", ["a file in its place", "nothing is kept"])
def test_without_a_folder_it_is_restarted_all_the_same(patient: Patient, how: str) -> None:
    if how == "nothing is kept":
        patient.settings(incidents={"keep": 0})
    else:
        patient.state.mkdir()
        (patient.state / "incidents").write_text("")
    patient.up()
    pid = patient.pid()
    patient.order("stall", deaf=True)
    patient.submit(sleeper(60))
    began = time.monotonic()
    patient.wait_for_restart(pid, "stalled", SOON)
    assert time.monotonic() - began < SOON
    if how != "nothing is kept":
        wait_until(lambda: "an incident can't be written" in patient.log("comfyui-health"))


@needs_comfyui
def test_a_real_comfyuis_stacks_name_the_node_that_hangs(patient: Patient) -> None:
    patient.settings(
        comfyui=patient.real_comfyui(), jobs={"extension": True, "replay": "always"}, health={"start_grace": 300.0}
    )
    patient.up()
    pid = patient.pid()
    prompt_id = patient.submit({"1": {"class_type": "FaultDeadlock", "inputs": {"value": 1e9}}})
    patient.wait_for_restart(pid, "stalled", 90)
    found = wait_for(patient, "restart")
    suspect = found["suspect"]
    assert (suspect["source"], suspect["node"], suspect["class_type"]) == ("stacks", "1", "FaultDeadlock")
    assert suspect["package"] == "fault_nodes"
    assert suspect["frame"]["file"].endswith("custom_nodes/fault_nodes.py")
    assert found["jobs"]["running"] == prompt_id
    assert found["versions"]["torch"]
    assert found["versions"]["ComfyUI"]


def test_what_hangs_does_not_hold_a_restart_up(tmp_path: Path) -> None:
    """Fault 40: a py-spy that never answers, and an API that doesn't: within the time that the stacks may take."""
    with discharged(Patient(with_py_spy(tmp_path, "exec sleep 100"))) as patient:
        patient.up()
        pid = patient.pid()
        patient.order("slow_loris")
        patient.wait_for_restart(pid, "api_unresponsive", SOON)
        found = wait_for(patient, "restart")
        assert "not within" in found["missing"]["py-spy"]
        assert "queue" in found["missing"]
        assert asked_after(found) < 3.0 + 2.0, "3 s and what a busy machine takes"


def test_stacks_that_may_not_be_taken_do_not_hold_a_restart_up(tmp_path: Path) -> None:
    """Fault 40: a py-spy that may not look, and an extension that can't open its file."""
    with discharged(Patient(with_py_spy(tmp_path, "echo Permission Denied >&2; exit 1"))) as patient:
        patient.settings(jobs={"extension": True})
        patient.up()
        run = Path(psutil.Process(patient.pid()).environ()["COMFY_SUPERVISOR_RUN"])
        patient.ok("stop")
        (run / "stacks.txt").unlink()
        for name in ("stacks.txt", "stacks.1.txt"):  # which can't even be moved out of the way
            (run / name / "full").mkdir(parents=True)
        patient.ok("start")
        patient.wait_for(patient.is_well, what="well again")
        pid = patient.pid()
        patient.order("stall", deaf=True)
        patient.submit(sleeper(60))
        patient.wait_for_restart(pid, "stalled", SOON)
        missing = wait_for(patient, "restart")["missing"]
        assert (missing["py-spy"], missing["stacks"]) == ("Permission Denied", "the extension wrote none")
        assert asked_after(wait_for(patient, "restart")) < 3.0 + 2.0, "3 s and what a busy machine takes"


def with_py_spy(folder: Path, script: str) -> dict[str, str]:
    """Return the environment in which py-spy is this."""
    make_program(folder / "py-spy", script)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def asked_after(incident: dict[str, Any]) -> float:
    """Return how many seconds after the decision the process was asked to end."""
    return next(float(step["after"]) for step in incident["steps"] if "SIGINT" in step["what"])
