"""The constraints that the tests on the oldest dependencies run with."""

from __future__ import annotations

import pytest

from tests.packaging.lowest import lowest


def test_a_lower_bound_becomes_the_version() -> None:
    assert lowest('\nclick >= 8.1\ntomli >= 2.0; python_version < "3.11"') == [
        "click == 8.1",
        'tomli == 2.0; python_version < "3.11"',
    ]


@pytest.mark.parametrize("requirement", ["click", "click == 8.1", "click >= 8.1, < 9"])
def test_a_requirement_without_just_a_lower_bound_is_refused(requirement: str) -> None:
    with pytest.raises(ValueError, match="needs a lower bound"):
        lowest(requirement)
