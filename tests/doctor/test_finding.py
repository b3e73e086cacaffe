"""What a finding says."""

from __future__ import annotations

from comfy_supervisor.doctor import finding
from comfy_supervisor.doctor.finding import Finding, Verdict
from comfy_supervisor.errors import UserError


def test_what_follows_the_semicolon_is_the_mend() -> None:
    found = finding.stated("note", Verdict.WARNING, "it runs as root; set comfyui.user; or don't")
    assert found == Finding("note", Verdict.WARNING, "it runs as root", mend="set comfyui.user; or don't")


def test_every_problem_of_an_error_of_the_users_is_a_finding() -> None:
    found = list(finding.failure("flags", UserError("one; mend it", "two")))
    assert found == [
        Finding("flags", Verdict.PROBLEM, "one", mend="mend it"),
        Finding("flags", Verdict.PROBLEM, "two"),
    ]


def test_any_other_error_is_a_bug_of_ours_and_says_where() -> None:
    try:
        raise KeyError("uuid")
    except KeyError as error:
        (found,) = finding.failure("gpu", error)
    assert found.verdict is Verdict.PROBLEM
    assert "KeyError: 'uuid', test_finding.py line" in found.found
    assert "bug of comfy-supervisor" in found.mend
