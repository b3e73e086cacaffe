"""Looks for whatever would keep ComfyUI from running, and says what to do about it."""

from .examination import examine
from .finding import Finding, Verdict

__all__ = ["Finding", "Verdict", "examine"]
