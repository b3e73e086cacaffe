"""Plots as SVG: small, the same bytes for the same figures, readable on light and dark pages. One function a kind.

matplotlib (extra ``bench``) is imported when something is drawn: whoever only reads results does without it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = ("#1a9850", "#e08214", "#7b6fd0", "#d6604d", "#3288bd")
"""By series, ours first; each has enough contrast on white and on near black."""
_MARKS = "osD^v"
_INK = "#808080"
"""Of all that is not a series: between light and dark."""
_STYLE = {
    "svg.hashsalt": "comfy-supervisor",  # ids in the file are else chosen by chance
    "svg.fonttype": "none",  # text as text: a tenth of the size, and it can be searched
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}
_WIDTH = 7.5
"""Inches, as matplotlib counts; the file scales."""
_LEAST = 1e-5
"""What is shown of a share that lacks nothing."""
_SHARES = (0.0, 0.9, 0.99, 0.999, 0.9999, 0.99999)


def dots(rows: Sequence[str], series: Mapping[str, Sequence[float | None]], unit: str, never: str = "never") -> str:
    """Return a plot with a line for each row and a dot for each series' value in it, on a logarithmic axis.

    A value that is None stands at the right edge, under the word for ``never``.
    """
    known = [value for values in series.values() for value in values if value is not None]
    edge = max(known, default=1.0) * 2.5

    def draw(axes: Any) -> None:
        for place, (name, values) in enumerate(series.items()):
            lines = [row + 0.18 * (place - (len(series) - 1) / 2) for row in range(len(rows))]
            shown = [edge if value is None else value for value in values]
            axes.scatter(shown, lines, s=22, color=COLOURS[place], marker=_MARKS[place], label=name, zorder=3)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(unit)
        axes.grid(axis="both", color=_INK, alpha=0.25, linewidth=0.6)
        if any(value is None for values in series.values() for value in values):
            axes.axvline(edge / 1.5, color=_INK, linewidth=0.8, linestyle=":")
            axes.text(edge, -0.6, never, ha="center", color=_INK)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.55 / _height(len(rows))), ncols=3, frameon=False)

    return _svg(draw, _height(len(rows)))


def lines(series: Mapping[str, Sequence[float]], ordinate: str, abscissa: str) -> str:
    """Return a plot with a stepped line for each series of shares; what is missing to one, on a logarithmic axis."""

    def draw(axes: Any) -> None:
        for place, (name, values) in enumerate(series.items()):
            missing = [max(1.0 - value, _LEAST) for value in values]
            axes.step(range(len(values)), missing, where="mid", color=COLOURS[place], label=name, linewidth=1.4)
        axes.set_yscale("log")
        axes.set_ylim(1.0, _LEAST)
        axes.set_yticks([1.0 - share for share in _SHARES], [f"{100 * share:g} %" for share in _SHARES])
        axes.minorticks_off()
        axes.set_xlabel(abscissa)
        axes.set_ylabel(ordinate)
        axes.grid(axis="y", color=_INK, alpha=0.25, linewidth=0.6)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)

    return _svg(draw, 3.4)


def _height(rows: int) -> float:
    return 0.9 + 0.3 * rows


def _svg(draw: Any, height: float) -> str:
    """Have something drawn on axes, and return the file's text."""
    from matplotlib import rc_context  # noqa: PLC0415  # see above
    from matplotlib.figure import Figure  # noqa: PLC0415

    with rc_context(_STYLE), io.StringIO() as file:
        figure = Figure(figsize=(_WIDTH, height))
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        figure.savefig(file, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
