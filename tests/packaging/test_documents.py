"""What is written from the code is up to date: ``make docs`` does it."""

from __future__ import annotations

import pytest

from comfy_supervisor.settings import reference
from tests.packaging.documents import EXAMPLE, README, up_to_date, with_part


def test_the_example_that_ships_is_the_settings_own() -> None:
    assert EXAMPLE.read_text() == reference.example()


def test_readme_has_the_tables_of_settings_and_commands() -> None:
    assert up_to_date(README.read_text()) == README.read_text()


def test_a_text_without_both_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="has to be marked"):
        with_part("before\n<!-- settings -->\nafter\n", "settings", "table\n")


def test_what_stands_around_a_part_stays() -> None:
    text = "before\n<!-- settings -->\nold\n<!-- /settings -->\nafter\n"
    assert with_part(text, "settings", "new\n") == text.replace("old", "new")
