"""The faults to survive: what each is and what is to come of it, tried on real processes, and shown."""

from .measure import measure

__all__ = ["measure"]
