"""All checks together: none costs another."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import pytest

from comfy_supervisor.doctor import examine
from comfy_supervisor.doctor.examination import CHECKS, run, settings
from comfy_supervisor.doctor.finding import Finding, Verdict, ok
from comfy_supervisor.doctor.patient import Patient
from tests.support import needs_comfyui

from .conftest import Machine, one


def good(_: Patient) -> Iterable[Finding]:
    yield ok("good", "yes")


def broken(_: Patient) -> Iterable[Finding]:
    yield ok("broken", "until here")
    raise ZeroDivisionError


def test_a_check_that_crashes_becomes_a_problem_and_costs_no_other(box: Machine) -> None:
    found = run({"first": good, "broken": broken, "last": good}, box.meet(), 10.0)
    assert [(one.check, one.verdict) for one in found] == [
        ("good", Verdict.OK),
        ("broken", Verdict.PROBLEM),
        ("good", Verdict.OK),
    ]
    assert "ZeroDivisionError" in found[1].found
    assert "bug of comfy-supervisor" in found[1].mend


def test_a_check_that_hangs_is_given_up(box: Machine) -> None:
    release = threading.Event()

    def hangs(_: Patient) -> Iterable[Finding]:
        release.wait(60)
        return []

    try:
        hung, fine = run({"disk": hangs, "last": good}, box.meet(), 0.5)
    finally:
        release.set()
    assert (hung.check, hung.verdict) == ("disk", Verdict.PROBLEM)
    assert "no answer within 0.5 s" in hung.found
    assert fine.verdict is Verdict.OK


def test_checks_run_side_by_side(box: Machine) -> None:
    """Two that wait for each other."""
    meeting = threading.Barrier(2)

    def waits(_: Patient) -> Iterable[Finding]:
        meeting.wait(30)
        return [ok("met", "yes")]

    assert [one.found for one in run({"a": waits, "b": waits}, box.meet(), 60.0)] == ["yes", "yes"]


class TestSettings:
    """Where they come from, and all that is wrong with them."""

    def test_file_and_environment(self, box: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COMFY_SUPERVISOR__LOGS__BACKUPS", "3")
        found = one(settings(box.meet()))
        assert found.verdict is Verdict.OK
        assert found.found == f"{box.file}, and from the environment COMFY_SUPERVISOR__LOGS__BACKUPS"

    def test_every_complaint_is_shown_and_the_rest_holds(self, box: Machine) -> None:
        box.configure(comfyui__prot="8189", logs__backups='"many"')
        patient = box.meet()
        found = list(settings(patient))
        assert [one.verdict for one in found] == [Verdict.PROBLEM] * 2
        assert found[0].mend == "did you mean comfyui.port?"
        assert "logs.backups" in found[1].found
        assert patient.loaded.settings.comfyui.port == box.port
        assert patient.known_plan

    def test_file_that_cannot_be_read_leaves_the_defaults(self, box: Machine) -> None:
        box.file.write_text("comfyui = [")
        patient = box.meet()
        found = one(settings(patient))
        assert (found.verdict, "not valid TOML" in found.found) == (Verdict.PROBLEM, True)
        assert patient.loaded.settings.comfyui.port == 8188


def test_doctor_of_a_machine_where_nothing_is_wrong_but_torch(box: Machine) -> None:
    """This test's own interpreter stands for ComfyUI's; every check has its say."""
    found = examine(str(box.file))
    by_check: Mapping[str, set[Verdict]] = {
        one.check: {each.verdict for each in found if each.check == one.check} for one in found
    }
    problems = {check for check, verdicts in by_check.items() if Verdict.PROBLEM in verdicts}
    assert problems == {"torch"}
    assert set(CHECKS) - {"gpu", "note", "access", "configuration", "secret", "alerts"} <= set(by_check)
    assert [one.check for one in found][:2] == ["versions", "settings"]


@needs_comfyui
def test_doctor_of_a_real_comfyui(box: Machine) -> None:
    box.use_real_comfyui()
    problems = [one for one in examine(str(box.file)) if one.verdict is Verdict.PROBLEM]
    assert problems == []
