"""The logs of failures, and which of them are held back.

``logs/<cause>/<release>-<what>.log`` was written by a real ComfyUI of that release, which ``provoke`` made fail;
``written-<what>.log`` was put together by hand around real noise, with the messages that programs print which need a
GPU. Of what only a look from outside shows, it is the health listener's log. ``.exit-1`` or ``.signal-9`` in a name is
how that process ended.

A third is held back: signatures are not made to fit these. Which ones a checksum of the name decides, so nobody chose.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_supervisor import catalogue

LOGS = Path(__file__).parent / "logs"


@dataclass(frozen=True)
class Kept:
    """One log."""

    file: Path

    @property
    def cause(self) -> str:
        """What it is a log of."""
        return self.file.parent.name

    @property
    def name(self) -> str:
        """Cause and file."""
        return f"{self.cause}/{self.file.name}"

    @property
    def held_back(self) -> bool:
        """Whether no signature may be made to fit it."""
        return zlib.crc32(self.name.encode()) % 3 == 0

    @property
    def ending(self) -> dict[str, int]:
        """How its process ended, as far as that is known."""
        found = re.search(r"\.(exit|signal)-(\d+)\.log$", self.name)
        return {{"exit": "exit_code", "signal": "signal"}[found[1]]: int(found[2])} if found else {}

    def explained(self) -> catalogue.Explanation:
        """Return what the catalogue makes of it."""
        with self.file.open("rb") as stream:
            return catalogue.explain(stream, **self.ending)


def kept() -> Sequence[Kept]:
    """Return all of them."""
    return [Kept(file) for file in sorted(LOGS.glob("*/*.log"))]
