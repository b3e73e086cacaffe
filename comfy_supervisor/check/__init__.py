"""The operator's checklist, measured on what runs: an item a module, each a look and a judgement, the latter pure."""

from __future__ import annotations

from .checklist import Wishes, examine
from .line import Line, Verdict

__all__ = ["Line", "Verdict", "Wishes", "examine"]
