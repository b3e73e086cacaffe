"""What the parts have found, kept in a file each, and the documents that are made of them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .plan import Part, Plan

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


def write(parts: Sequence[Part], folder: Path, target: Path) -> list[Path]:
    """Make the documents of what was found, in the parts' order; return those that were written.

    What a part that was not run here has in a document already, from a run elsewhere, stays there.
    """
    ran = {part: result for part in parts if (result := kept(part, folder))}
    for result in ran.values():
        _draw(result, target / "plots")
    found = []
    for document in dict.fromkeys(part.document for part in ran):
        standing = _standing(target / f"{document}.md")
        own = [part for part in parts if part.document == document]
        sections = [_section(part, ran[part]) if part in ran else standing.get(part.title, "") for part in own]
        found.append(_written(target, document, [section for section in sections if section]))
    return found


def _standing(file: Path) -> Mapping[str, str]:
    """Return the sections of a document by their titles; none if it isn't there."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    sections = (f"## {section.strip()}" for section in text.split("\n## ")[1:])
    return {section.splitlines()[0].removeprefix("## "): section for section in sections}


def _section(part: Part, result: Result) -> str:
    missed = "\n".join(f"- **missed**: {bound}" for bound in result.missed)
    return "\n\n".join(filter(None, [f"## {part.title}", result.text.strip(), missed, result.circumstances]))


def _draw(result: Result, folder: Path) -> None:
    for name, svg in result.plots.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")


def _written(target: Path, document: str, sections: list[str]) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    file = target / f"{document}.md"
    file.write_text("\n\n".join([INTRODUCTIONS[document], *sections]) + "\n", encoding="utf-8")
    return file


def _file(folder: Path, part: str) -> Path:
    return folder / f"{part}.json"


def command(part: Part, plan: Plan, comfyui: str) -> str:
    """Return what has to be typed to get the same figures again; ``comfyui`` is $COMFYUI_DIR, which many parts use."""
    usual = Plan(quick=plan.quick, repeat=1 if plan.quick else Plan.repeat)
    words = [f"make {part.name}" if part.apart else "make proof"]
    arguments = [] if part.apart else [part.name]
    arguments += [f"--seed {plan.seed}"] if plan.seed != usual.seed else []
    words += [f"ARGS={shlex.quote(' '.join(arguments))}"] if arguments else []
    words += ["QUICK=1"] if plan.quick else []
    words += [f"REPEAT={plan.repeat}"] if plan.repeat != usual.repeat and not part.apart else []
    words += [f"MINUTES={plan.minutes:g}"] if plan.minutes != usual.minutes and part.apart else []
    return " ".join(["COMFYUI_DIR=…", *words] if comfyui else words)


def circumstances(command: str, seed: int, seconds: float, machine: str, versions: str) -> str:
    """Return what has to be known to get the same figures again, as one line in small print."""
    return f"<sub>`{command}` · seed {seed} · {seconds / 60:.1f} min · {machine} · {versions}</sub>"
