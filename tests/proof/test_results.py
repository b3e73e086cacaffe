"""The documents that are made of what the parts found."""

from __future__ import annotations

import re
from pathlib import Path

from tests.bench.report import Report
from tests.proof import results
from tests.proof.parts import PARTS
from tests.proof.plan import Part
from tests.proof.results import Result

FIRST, SECOND = (Part(name, "benchmarks", f"The {name} one", lambda _plan: Report("")) for name in ("first", "second"))


def found(part: Part, text: str, *missed: str, **plots: str) -> Result:
    return Result(part.name, text, list(missed), plots, f"<sub>{part.name} was run</sub>")


def test_what_was_found_is_written_in_the_parts_order(tmp_path: Path) -> None:
    for result in (found(SECOND, "Two.", "too slow", picture="<svg/>"), found(FIRST, "### One\n\nis more.\n")):
        results.keep(result, tmp_path / "kept")
    (file,) = results.write([FIRST, SECOND], tmp_path / "kept", tmp_path / "docs")
    assert file.read_text() == (
        f"{results.INTRODUCTIONS['benchmarks']}\n\n## The first one\n\n### One\n\nis more.\n\n<sub>first was run</sub>"
        "\n\n## The second one\n\nTwo.\n\n- **missed**: too slow\n\n<sub>second was run</sub>\n"
    )
    assert (tmp_path / "docs" / "plots" / "picture.svg").read_text() == "<svg/>"


def test_what_others_found_stays_until_the_part_is_run_here(tmp_path: Path) -> None:
    for result in (found(FIRST, "Elsewhere."), found(SECOND, "Elsewhere, too.\n\n### In detail\n\nFigures.")):
        results.keep(result, tmp_path / "elsewhere")
    results.write([FIRST, SECOND], tmp_path / "elsewhere", tmp_path / "docs")
    results.keep(found(FIRST, "Here."), tmp_path / "here")
    (file,) = results.write([FIRST, SECOND], tmp_path / "here", tmp_path / "docs")
    text = file.read_text()
    assert "Here." in text
    assert "Elsewhere." not in text
    assert text.endswith("Elsewhere, too.\n\n### In detail\n\nFigures.\n\n<sub>second was run</sub>\n")


def test_nothing_is_written_where_nothing_was_found(tmp_path: Path) -> None:
    assert results.write([FIRST, SECOND], tmp_path / "kept", tmp_path / "docs") == []
    assert not (tmp_path / "docs").exists()


def test_each_part_of_a_quick_run_is_run_before_a_change_is_taken() -> None:
    run = (results.ROOT / ".ci" / "run").read_text()
    quick = {part.name for part in PARTS if part.in_quick and not part.apart}
    assert set(re.findall(r"make proof QUICK=1 ARGS=(\w+)", run)) == quick
