"""The proving ground: what is promised, measured anew by whoever wants to know. ``make proof``."""
