"""supervisord and what is rendered for it: a real one."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor import disk, rendered, rpc
from comfy_supervisor.doctor import service
from comfy_supervisor.doctor.finding import Verdict
from comfy_supervisor.launch import holds
from tests.supervisord import EXECUTABLE
from tests.support import wait_until

from .conftest import Machine, one


def render(box: Machine) -> None:
    """Write what ``comfy-supervisor render`` would."""
    made = box.meet().known_plan
    assert made
    for folder in made.folders:
        disk.make_folder(folder.path, folder.mode, folder.owner)
    disk.write(made.files)


@contextmanager
def running(box: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """Have a supervisord run what is rendered."""
    render(box)
    conf = box.state / "supervisord.conf"
    supervisor = rpc.Supervisor(rendered.read(conf).url)
    with subprocess.Popen([EXECUTABLE, "-n", "-s", "-c", conf], cwd=box.folder, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: supervisor.state() == "RUNNING", what="supervisord")
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()


def test_versions(box: Machine) -> None:
    found = one(service.versions(box.meet()))
    assert "comfy-supervisor" in found.found
    assert "Python 3." in found.found


def test_nothing_rendered(box: Machine) -> None:
    patient = box.meet()
    assert "nothing is rendered yet" in one(service.supervisord(patient)).found
    assert list(service.configuration(patient)) == []


def test_rendered_but_not_running(box: Machine) -> None:
    render(box)
    found = one(service.supervisord(box.meet()))
    assert (found.verdict, found.found) == (Verdict.OK, "does not run; comfy-supervisor up starts it")


def test_running_with_an_instance_that_is_held(box: Machine) -> None:
    with running(box) as process:
        patient = box.meet()
        assert one(service.supervisord(patient)).found == f"runs (pid {process.pid})"
        hold = holds.Hold(holds.GAVE_UP, "it died ten times", time.time())
        (instance,) = rendered.read(box.state / "supervisord.conf").instances
        instance.run.mkdir(parents=True, exist_ok=True)
        holds.write(str(instance.run), hold)
        wait_until(lambda: len(list(service.supervisord(patient))) > 1, what="a launcher that waits")
        _, held = service.supervisord(patient)
    assert held.verdict is Verdict.PROBLEM
    assert held.found == "comfyui is held back (gave_up): it died ten times"
    assert "comfy-supervisor start comfyui" in held.mend


def test_supervisord_that_does_not_answer(box: Machine) -> None:
    with running(box) as process:
        process.send_signal(signal.SIGSTOP)
        found = one(service.supervisord(box.meet()))
    assert found.verdict is Verdict.PROBLEM
    assert "timed out" in found.found
    assert "kill -CONT" in found.mend


def test_backing_off_is_only_a_warning() -> None:
    nowhere = Path("/nowhere")
    instance = rendered.Rendered("comfyui", "cpu", ("127.0.0.1:8188",), nowhere, nowhere, nowhere, "")
    hold = holds.Hold(holds.BACKOFF, "three short lives", 0.0, 10.0)
    assert service._held("unix:///nowhere", instance, hold).verdict is Verdict.WARNING


@pytest.mark.parametrize(("installed", "verdict"), [("4.3.0", Verdict.OK), ("4.2.5", Verdict.WARNING)])
def test_release_of_supervisord(monkeypatch: pytest.MonkeyPatch, installed: str, verdict: Verdict) -> None:
    monkeypatch.setattr(service, "version", lambda _: installed)
    found = service._release(123, "4.3.0")
    assert found.verdict is verdict
    assert "pid 123" in found.found


def test_configuration_that_is_up_to_date_and_then_is_not(box: Machine) -> None:
    render(box)
    assert one(service.configuration(box.meet())).verdict is Verdict.OK
    box.configure(logs__backups="7")
    found = one(service.configuration(box.meet()))
    assert (found.verdict, found.mend) == (Verdict.WARNING, "comfy-supervisor up")
    assert "supervisord.conf would change" in found.found


def test_a_running_supervisord_is_told_of_changes_by_apply(box: Machine) -> None:
    with running(box):
        box.configure(logs__backups="7")
        assert one(service.configuration(box.meet())).mend == "comfy-supervisor apply"


@pytest.mark.parametrize(("length", "verdict"), [(20, Verdict.OK), (200, Verdict.PROBLEM)])
def test_socket(box: Machine, length: int, verdict: Verdict) -> None:
    box.configure(paths__run=f'"/{"r" * length}"')
    found = one(service.socket(box.meet()))
    assert found.verdict is verdict
    assert f"{length + len('//supervisor.sock')} bytes" in found.found


@pytest.mark.parametrize(("limit", "verdict"), [(4096, Verdict.OK), (1024, Verdict.WARNING)])
def test_open_files(box: Machine, limit: int, verdict: Verdict) -> None:
    patient = box.meet()
    patient = replace(patient, machine=replace(patient.machine, hard_fd_limit=limit))
    found = one(service.open_files(patient))
    assert (found.verdict, str(limit) in found.found) == (verdict, True)
