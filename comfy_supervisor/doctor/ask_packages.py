"""Runs in ComfyUI's interpreter: tells which packages and modules it lacks. A script for `interpreter.ask`.

Nothing is imported that is asked for. The question: ``{"packages", "modules"}``; the answer: ``{"missing"}``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
"""Python looks here first for whatever is asked for, and torch.py is no torch."""


def main() -> None:
    """Answer the question on standard input, to the descriptor that the argument names."""
    descriptor = int(sys.argv[1])
    question = json.load(sys.stdin)
    sys.path = [folder for folder in sys.path if Path(folder) != HERE]
    missing = [name for name in question["packages"] if not installed(name)]
    missing += [name for name in question["modules"] if importlib.util.find_spec(name) is None]
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump({"missing": missing}, file)


def installed(name: str) -> bool:
    """Tell whether a package is installed, in whatever version."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
