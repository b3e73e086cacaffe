"""Whether a start failed of what the next one would fail of, too. Pure."""

from __future__ import annotations

from . import search
from .reasoning import entry, explain_chunks


def configuration_fault(log: bytes, *, exit_code: int | None = None, signal: int | None = None) -> tuple[str, str]:
    """Return the cause and its explanation, if that is how a start failed by the end of its log; else two empty texts.

    It is ``explain`` that judges, so that both say the same: of what ComfyUI has not ended of nothing is held against
    the next start. A custom node that can't be imported is such, for one.
    """
    found = explain_chunks([log], exit_code=exit_code, signal=signal)
    one = entry(found.cause)
    if not found.fatal or one.kind != "configuration" or not (signal is None or signal in one.signals):
        return "", ""  # what a signal ended may have left nothing in the log: the fault there is another start's
    quoted = search.quoted([log], found.evidence[-1:])
    return found.cause, ": ".join((*quoted.values(), found.fix))
