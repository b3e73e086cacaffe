"""``make docs``: bring up to date what is written from the code, the example file and README's tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comfy_supervisor.cli.app import SUMMARIES
from comfy_supervisor.settings import reference

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "conf/comfy-supervisor.example.toml"
README = ROOT / "README.md"


def parts() -> Mapping[str, str]:
    """Return README's parts that are written from the code, by the name of their marks."""
    commands = "".join(f"| `{name}` | {summary} |\n" for name, summary in SUMMARIES.items())
    return {"settings": reference.table(), "commands": f"| command | what it does |\n|---|---|\n{commands}"}


def with_part(text: str, name: str, part: str) -> str:
    """Return a text with what stands between a part's two marks replaced; raises ValueError if it lacks them."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the part's place has to be marked with {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{part}{end}{after}"


def up_to_date(text: str) -> str:
    """Return README's text with every part as the code has it."""
    for name, part in parts().items():
        text = with_part(text, name, part)
    return text


def main() -> None:
    """Write both files."""
    EXAMPLE.write_text(reference.example())
    README.write_text(up_to_date(README.read_text()))


if __name__ == "__main__":
    main()
