"""``python lowest.py FILE``: write pip's constraints for the lower bound of every dependency in setup.cfg."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

SETUP = Path(__file__).parents[2] / "setup.cfg"
BESIDES = ("setuptools<67.5",)
"""supervisor 4.2 imports pkg_resources, of which later ones warn, and the latest lack it."""


def lowest(install_requires: str) -> list[str]:
    """Return ``name==bound; marker`` for every ``name >= bound; marker``; raises ValueError for one without a bound."""
    return [_exactly(line) for line in install_requires.strip().splitlines()]


def _exactly(requirement: str) -> str:
    if not re.match(r"[\w.-]+ *>= *[\w.]+ *(;|$)", requirement):
        raise ValueError(f"setup.cfg, install_requires: {requirement}: needs a lower bound, NAME >= VERSION")
    return requirement.replace(">=", "==", 1)


def main() -> None:
    """Write the file."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(SETUP, encoding="utf-8")
    constraints = [*lowest(config["options"]["install_requires"]), *BESIDES]
    Path(sys.argv[1]).write_text("".join(f"{line}\n" for line in constraints))


if __name__ == "__main__":
    main()
