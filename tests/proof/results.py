"""What the parts have found, kept in a file each, and the documents that are made of them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from .plan import Part

ROOT = Path(__file__).parents[2]
INTRODUCTIONS = {
    "reliability": """\
# Reliability

What is promised, tried on real processes and in simulation, by `make proof`, which wrote all of this.""",
    "benchmarks": """\
# Benchmarks

What things cost, as `make proof` measured them and wrote them down: times on one machine, next to other work (its load
is said), are worth their ratios. No part of the tests, which depend on no clock.""",
}


@dataclass(frozen=True)
class Result:
    """What a part has found, and where and how."""

    part: str
    text: str
    missed: list[str]
    plots: dict[str, str]
    circumstances: str
    """The command, the machine, the versions, the seed and the time that it took."""


def keep(result: Result, folder: Path) -> None:
    """Write a part's result down, in place of an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    _file(folder, result.part).write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


def kept(part: Part, folder: Path) -> Result | None:
    """Return what the part found when it was run last; None: it was not."""
    file = _file(folder, part.name)
    return Result(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def write(parts: Iterable[Part], folder: Path, target: Path) -> list[Path]:
    """Make the documents of all that was found, in the parts' order; return those that were written."""
    sections: dict[str, list[str]] = {}
    for part in parts:
        result = kept(part, folder)
        if result:
            sections.setdefault(part.document, []).append(_section(part, result))
            _draw(result, target / "plots")
    target.mkdir(parents=True, exist_ok=True)
    return [_written(target, document, texts) for document, texts in sections.items()]


def _section(part: Part, result: Result) -> str:
    missed = "".join(f"\n- **missed**: {bound}" for bound in result.missed)
    return f"## {part.title}\n\n{result.text}\n{missed and chr(10)}{missed.lstrip(chr(10))}\n{result.circumstances}"


def _draw(result: Result, folder: Path) -> None:
    for name, svg in result.plots.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")


def _written(target: Path, document: str, sections: list[str]) -> Path:
    file = target / f"{document}.md"
    file.write_text("\n\n".join([INTRODUCTIONS[document], *sections]) + "\n", encoding="utf-8")
    return file


def _file(folder: Path, part: str) -> Path:
    return folder / f"{part}.json"


def circumstances(part: str, options: str, seed: int, seconds: float, machine: str, versions: str) -> str:
    """Return what has to be known to get the same figures again, as one line in small print."""
    command = f"make proof ARGS={shlex.quote(f'{part} {options}'.strip())}"
    return f"<sub>`{command}` · seed {seed} · {seconds / 60:.1f} min · {machine} · {versions}</sub>"
