"""Plots that can be committed."""

from __future__ import annotations

import pytest

from tests.proof import plots

ROWS = ("killed", "stopped")
SERIES = {"ours": (1.2, 3.4), "httpok": (4.0, None)}


@pytest.fixture(autouse=True)
def needs_matplotlib() -> None:
    pytest.importorskip("matplotlib", reason="plots need what the extra bench installs")


def test_equal_figures_give_equal_bytes_and_others_do_not() -> None:
    drawn = plots.dots(ROWS, SERIES, "seconds")
    assert plots.dots(ROWS, SERIES, "seconds") == drawn
    assert plots.dots(ROWS, {**SERIES, "ours": (1.2, 3.5)}, "seconds") != drawn


def test_a_plot_is_small_and_says_what_it_shows_without_a_background() -> None:
    drawn = plots.dots([f"fault {number}" for number in range(30)], {"ours": [1.0] * 30, "httpok": [2.0] * 30}, "s")
    assert len(drawn) < 60_000
    assert "fault 7" in drawn
    assert "httpok" in drawn
    assert "fill: #ffffff" not in drawn


def test_what_never_came_is_said() -> None:
    assert "never" in plots.dots(ROWS, SERIES, "seconds")
    assert "never" not in plots.dots(ROWS, {"ours": (1.0, 2.0)}, "seconds")


def test_shares_over_time_are_drawn_alike_and_small() -> None:
    series = {"ours": [0.9999, 1.0] * 26, "httpok": [0.95, 0.0] * 26}
    drawn = plots.lines(series, "share", "week")
    assert plots.lines(series, "share", "week") == drawn
    assert len(drawn) < 60_000
    assert "99.9 %" in drawn
