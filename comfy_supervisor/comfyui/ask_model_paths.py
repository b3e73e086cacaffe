"""Runs in ComfyUI's interpreter, which has the YAML that its files of further folders are written in.

A script for `interpreter.ask`. Reads them as ComfyUI does (its ``utils/extra_config.py``), but for what it can't read:
that ends ComfyUI, and here only the file.
"""

from __future__ import annotations

import sys

sys.path[:] = [path for path in sys.path if not __file__.startswith(f"{path}/ask_")]
# our own folder, where the interpreter found this script: a module torch.py lies in it

import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402


def main() -> None:
    """Write the folders to the descriptor that the argument names."""
    found: list[str] = []
    for file in json.load(sys.stdin):
        try:
            found += folders(file)
        except Exception:  # noqa: BLE001, S112  # YAML of any shape, and an interpreter without it
            continue
    with os.fdopen(int(sys.argv[1]), "w", encoding="ascii") as answer:
        json.dump({"folders": found}, answer)


def folders(file: str) -> Iterator[str]:
    """Yield the folders that a file names; raises anything for what is none of ComfyUI's files."""
    with Path(file).open(encoding="utf-8") as stream:
        config = importlib.import_module("yaml").safe_load(stream)
    beside = Path(file).absolute().parent
    for section in config.values():
        if section is None:
            continue
        base = os.path.expandvars(Path(section.pop("base_path", "")).expanduser())
        section.pop("is_default", None)
        for named in section.values():
            for line in filter(None, named.split("\n")):
                yield os.path.normpath(beside / base / line)


if __name__ == "__main__":
    main()
