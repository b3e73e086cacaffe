"""Whether a start failed of what the next one would fail of, too. Pure."""

from __future__ import annotations

from . import reading
from .signs import signs


def configuration_fault(last_lines: str) -> tuple[str, str]:
    """Return the cause and its explanation, if that is how a start failed by its last lines; else two empty texts.

    Only what stands at the very end counts: a custom node that can't be imported says the same further up, and
    ComfyUI goes on without it.
    """
    for line in [line.strip() for line in last_lines.splitlines() if line.strip()][-1:]:
        for sign in signs(reading.text(line.encode("utf-8", "replace"))):
            if sign.entry.kind == "configuration":
                return sign.entry.cause, f"{line}: {sign.entry.mended(sign.details)}"
    return "", ""
