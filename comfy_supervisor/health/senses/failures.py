"""What a failed job's error says of the process that it ran in, in the policy's words. Pure."""

from __future__ import annotations

from ...extension.comfy_supervisor_bridge import cuda
from ..policy.evidence import Failure


def failure(exception: str, message: str) -> Failure:
    """Return how a job failed, from the name of its exception's type and from its message."""
    return Failure(cuda.kind(exception, message))
