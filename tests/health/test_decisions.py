"""Decisions that real listeners took in the tests of faults, taken once more: today's policy decides alike.

Each file of ``decisions/`` is an instance's ``decisions.jsonl`` of such a run. Where the policy is meant to decide
otherwise from now on, the file is made anew: ``DECISIONS=FOLDER make test ARGS=tests/faults`` keeps those of a run.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_supervisor.health.audit import audit
from comfy_supervisor.health.policy.evidence import Deed, Word

FOLDER = Path(__file__).with_name("decisions")
FILES = sorted(FOLDER.glob("*.jsonl"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_todays_policy_decides_as_the_listener_did(file: Path) -> None:
    audited = list(audit(file))
    assert audited
    different = [(each.line, each.decision.verdict.told, each.today.told) for each in audited if not each.same]
    assert not different


def test_the_reasons_are_the_same_sentences() -> None:
    audited = [each for file in FILES for each in audit(file)]
    assert [each.today.reason for each in audited] == [each.decision.verdict.reason for each in audited]


def test_each_word_and_nearly_each_deed_is_among_them() -> None:
    verdicts = [each.decision.verdict for file in FILES for each in audit(file)]
    assert {each.deed for each in verdicts} == set(Deed) - {Deed.LIFT}
    assert {each.word for each in verdicts} == set(Word)
