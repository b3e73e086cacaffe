"""What is written from the code is up to date: ``make docs`` does it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfy_supervisor.settings import reference
from tests.packaging.documents import EXAMPLE, ROOT, parts, up_to_date, with_part


def test_the_example_that_ships_is_the_settings_own() -> None:
    assert EXAMPLE.read_text() == reference.example()


@pytest.mark.parametrize("document", parts(), ids=lambda document: document.name)
def test_a_document_has_its_tables_as_the_code_has_them(document: Path) -> None:
    assert up_to_date(document) == document.read_text()


def test_each_promise_is_proved_by_a_test_that_there_is() -> None:
    promised = re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", (ROOT / "docs/security.md").read_text())
    assert len(promised) > 10
    for file, name in promised:
        assert (ROOT / file).exists(), file
        assert not name or re.search(rf"^(class|def) {name}\b", (ROOT / file).read_text(), re.MULTILINE), name


def test_a_text_without_both_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="has to be marked"):
        with_part("before\n<!-- settings -->\nafter\n", "settings", "table\n")


def test_what_stands_around_a_part_stays() -> None:
    text = "before\n<!-- settings -->\nold\n<!-- /settings -->\nafter\n"
    assert with_part(text, "settings", "new\n") == text.replace("old", "new")
