"""``make docs``: bring up to date what is written from the code: the example file, and tables in the documents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comfy_supervisor import catalogue
from comfy_supervisor.cli.app import SUMMARIES
from comfy_supervisor.health.alarms import _THEN
from comfy_supervisor.notify.message import _HEADS, _URGENT
from comfy_supervisor.settings import reference

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "conf/comfy-supervisor.example.toml"
README = ROOT / "README.md"
EXPLAIN = ROOT / "docs/explain.md"
OPERATIONS = ROOT / "docs/operations.md"


def parts() -> Mapping[Path, Mapping[str, str]]:
    """Return the documents' parts that are written from the code, by the names of their marks."""
    commands = "".join(f"| `{name}` | {summary} |\n" for name, summary in SUMMARIES.items())
    return {
        README: {"settings": reference.table(), "commands": f"| command | what it does |\n|---|---|\n{commands}"},
        EXPLAIN: {"causes": causes()},
        OPERATIONS: {"alerts": alerts()},
    }


def causes() -> str:
    """Return the catalogue as a table."""
    entries = sorted(catalogue.ENTRIES, key=lambda entry: entry.cause)
    rows = (f"| `{one.cause}` | {one.kind} | {one.explanation} | {one.fix} | {one.source} |\n" for one in entries)
    return (
        "| cause | kind | what it means | what mends it | where its messages are from |\n|---|---|---|---|---|\n"
        + "".join(row.replace("<", "\\<") for row in rows)
    )


def alerts() -> str:
    """Return what can be told, with what is then to be done, as a table."""
    rows = (f"| `{kind.value}` | {_HEADS[kind]} | {_THEN[kind].format(id='gpu0', job='ID')} |\n" for kind in _URGENT)
    return "| `notify.on` | the message says | what to do |\n|---|---|---|\n" + "".join(rows)


def with_part(text: str, name: str, part: str) -> str:
    """Return a text with what stands between a part's two marks replaced; raises ValueError if it lacks them."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the part's place has to be marked with {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{part}{end}{after}"


def up_to_date(file: Path) -> str:
    """Return a document's text with every part as the code has it."""
    text = file.read_text()
    for name, part in parts()[file].items():
        text = with_part(text, name, part)
    return text


def main() -> None:
    """Write all of them."""
    EXAMPLE.write_text(reference.example())
    for file in parts():
        file.write_text(up_to_date(file))


if __name__ == "__main__":
    main()
